import { InvalidatedCache } from "../../core/concurrency/invalidated-cache.ts";
import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import type { CallerLimits, PlanChange, PlanStore } from "../../core/owners/plan-store.ts";
import type { Caller } from "../auth/key-ring.ts";

/**
 * The owner and key whose limits are read. Without a key (a signed address, a job), the owner's own limits.
 */
export type LimitedCaller = Pick<Caller, "ownerId"> & Partial<Pick<Caller, "keyId">>;

/** The limits that apply to a caller: those of its plan, with the owner's and the key's exceptions. */
export interface EffectiveLimits {
  /**
   * Never rejects: while Postgres is unavailable it resolves with the limits that were read last, or with
   * none beyond the platform's own, and with private files.
   */
  of(caller: LimitedCaller): Promise<CallerLimits>;
}

/** Limits that could not be read yet. Files are private then: what was public once cannot be taken back. */
const UNKNOWN_LIMITS: CallerLimits = { owner: { privateFiles: true }, key: {} };

/**
 * Keeps callers' limits in memory, so that a submit usually needs no query. The database announces changes;
 * in case an announcement is lost, limits older than `LIMITS.limitsCacheMs` are read again behind the call
 * that finds them so old.
 */
export async function createEffectiveLimits({
  plans,
  log,
}: {
  plans: Pick<PlanStore, "limitsOf" | "onChange">;
  log: Log;
}): Promise<EffectiveLimits & AsyncDisposable> {
  const cache = new InvalidatedCache<string, CallerLimits>({
    async read(cacheKey) {
      const { ownerId, keyId } = callerOf(cacheKey);
      try {
        return await plans.limitsOf(ownerId, keyId);
      } catch (error) {
        if (isTemperaError(error))
          log.warn(
            { ownerId, err: errorInfo(error) },
            "an owner's limits cannot be read; those read last stay valid",
          );
        throw error;
      }
    },
    ttlMs: LIMITS.limitsCacheMs,
    entriesMax: LIMITS.limitsCachedMax,
    staleWhileRevalidate: true,
    // Limits that were read last are better than none, even if they are known to have changed since.
    onReadError(error, last) {
      if (!isTemperaError(error)) throw error;
      return last?.value ?? UNKNOWN_LIMITS;
    },
    retryAfterMs: LIMITS.keyCacheMs,
  });
  const stop = await plans.onChange((change) =>
    cache.invalidateWhere((cacheKey) => affects(change, callerOf(cacheKey))),
  );
  return {
    of: ({ ownerId, keyId = "" }) => cache.get(`${keyId} ${ownerId}`),
    [Symbol.asyncDispose]: stop,
  };
}

/** Reads a cache key back. Ids of keys have no spaces; names of owners may have. */
function callerOf(cacheKey: string): Required<LimitedCaller> {
  const space = cacheKey.indexOf(" ");
  return { keyId: cacheKey.slice(0, space), ownerId: cacheKey.slice(space + 1) };
}

/** A change of a plan, or an unknown one, may affect anybody. */
function affects(change: PlanChange, { ownerId, keyId }: Required<LimitedCaller>): boolean {
  if (change.kind === "owner") return change.id === ownerId;
  if (change.kind === "key") return change.id === keyId;
  return true;
}
