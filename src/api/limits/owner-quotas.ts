import { errorInfo, isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import type { CallerAllowance, PlanChange, PlanStore } from "../../core/owners/plan-store.ts";
import type { Caller } from "../auth/key-ring.ts";

/** Who is asked about. Without a key (a signed address, a job): what the owner has. */
export type Allowed = Pick<Caller, "ownerId"> & Partial<Pick<Caller, "keyId">>;

export interface Allowances {
  /**
   * What a caller may use. Never rejects: with Postgres away it is what was known last, or nothing beyond the
   * platform's own limits.
   */
  of(caller: Allowed): Promise<CallerAllowance>;
}

interface Remembered {
  ownerId: string;
  keyId: string;
  allowance: CallerAllowance;
  /** By a clock that does not jump. */
  askedAtMs: number;
}

const NOTHING_SAID: CallerAllowance = { owner: {}, key: {} };

/**
 * Remembers what callers may use, so that a warm submit asks nobody: forgets at once what the database says
 * has changed, everything when it may have missed a word. As a last resort what is older than
 * `LIMITS.allowanceCacheMs` is asked for again, behind the call that found it so.
 */
export async function createAllowances({
  plans,
  log,
}: {
  plans: Pick<PlanStore, "allowanceOf" | "onChange">;
  log: Log;
}): Promise<Allowances & AsyncDisposable> {
  const memory = new Map<string, Remembered>();
  /**
   * What was forgotten and not read anew yet: should the store be away just then, it is better than no limit.
   */
  const before = new Map<string, Remembered>();
  const asking = new Map<string, Promise<CallerAllowance>>();
  /** Counts what was forgotten, so that an answer from before a change is not remembered after it. */
  let changes = 0;

  const forget = (change: PlanChange): void => {
    changes++;
    asking.clear();
    for (const [name, known] of memory) {
      const { ownerId, keyId } = known;
      // A plan, and what was not heard of, may concern anybody.
      const concerned =
        change.kind === "owner" ? change.id === ownerId : change.kind === "key" ? change.id === keyId : true;
      if (concerned) {
        memory.delete(name);
        before.set(name, known);
        if (before.size > LIMITS.allowancesRememberedMax) before.delete(before.keys().next().value as string);
      }
    }
  };
  const stop = await plans.onChange(forget);

  const ask = async (name: string, { ownerId, keyId = "" }: Allowed): Promise<CallerAllowance> => {
    const changesBefore = changes;
    const known = memory.get(name) ?? before.get(name);
    try {
      const allowance = await plans.allowanceOf(ownerId, keyId);
      if (changesBefore === changes)
        remember(name, { ownerId, keyId, allowance, askedAtMs: performance.now() });
      return allowance;
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      log.warn(
        { ownerId, err: errorInfo(error) },
        "what an owner may use cannot be read; what was known last counts",
      );
      const allowance = known?.allowance ?? NOTHING_SAID;
      // Asked again in a while, not with each call.
      if (changesBefore === changes)
        remember(name, {
          ownerId,
          keyId,
          allowance,
          askedAtMs: performance.now() - LIMITS.allowanceCacheMs + LIMITS.keyCacheMs,
        });
      return allowance;
    }
  };
  const remember = (name: string, remembered: Remembered): void => {
    memory.delete(name);
    before.delete(name);
    if (memory.size >= LIMITS.allowancesRememberedMax) memory.delete(memory.keys().next().value as string);
    memory.set(name, remembered);
  };
  const askOnce = (name: string, caller: Allowed): Promise<CallerAllowance> => {
    const answer =
      asking.get(name) ??
      ask(name, caller).finally(() => {
        if (asking.get(name) === answer) asking.delete(name);
      });
    asking.set(name, answer);
    return answer;
  };

  return {
    async of(caller) {
      const name = `${caller.keyId ?? ""} ${caller.ownerId}`;
      const known = memory.get(name);
      if (!known) return askOnce(name, caller);
      if (performance.now() - known.askedAtMs >= LIMITS.allowanceCacheMs)
        askOnce(name, caller).catch(() => {});
      return known.allowance;
    },
    [Symbol.asyncDispose]: stop,
  };
}
