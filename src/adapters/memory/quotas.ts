import { LRUCache } from "lru-cache";
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Quota, QuotaDecision, Quotas } from "../../core/owners/quotas.ts";

/** Limiters kept: one for each limit that plans have, and there are few plans. */
const LIMITERS_MAX = 1_000;

/** Maps a limiter's refusal to a decision; throws anything else, a failure of the limiter's store. */
export function refusal(error: unknown, { windowSeconds }: Quota): QuotaDecision {
  if (!(error instanceof RateLimiterRes)) throw error;
  // Bounded by the window: after the clock was set back, callers would otherwise wait for that long.
  return { ok: false, retryAfterMs: Math.min(Math.max(error.msBeforeNext, 1), windowSeconds * 1000) };
}

/**
 * Returns a limiter for each limit, since a limiter's limit is fixed. The counters belong to the owner and
 * the name alone.
 */
export function limiters<L extends object>(make: (quota: Quota) => L): (quota: Quota) => L {
  const made = new LRUCache<string, L>({ max: LIMITERS_MAX });
  return (quota) => {
    const name = `${quota.limit}/${quota.windowSeconds}`;
    const limiter = made.get(name) ?? make(quota);
    made.set(name, limiter);
    return limiter;
  };
}

/** Creates the counters of a platform that is one process, and of each gateway while Redis is unavailable. */
export function createMemoryQuotas(): Quotas {
  const limiterOf = limiters(
    ({ limit, windowSeconds }) => new RateLimiterMemory({ points: limit, duration: windowSeconds }),
  );
  const keyOf = ({ ownerId, name }: Quota): string => `${ownerId}:${name}`;
  return {
    async take(quota, points) {
      try {
        await limiterOf(quota).consume(keyOf(quota), points);
        return { ok: true };
      } catch (error) {
        return refusal(error, quota);
      }
    },
    async refund(quota, points) {
      await limiterOf(quota).reward(keyOf(quota), points);
    },
    async close() {},
  };
}
