import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Quota, Quotas, Taken } from "../../core/owners/quotas.ts";

/** Different limits that are remembered: one for each plan and kind, and there are few plans. */
const LIMITERS_MAX = 1_000;

/** What a limiter's refusal means; anything else it rejects with is a failure of its store. */
export function refusal(error: unknown, { windowSeconds }: Quota): Taken {
  if (!(error instanceof RateLimiterRes)) throw error;
  // A clock that was set back would have callers wait for as long as it was set back.
  return { ok: false, retryAfterMs: Math.min(Math.max(error.msBeforeNext, 1), windowSeconds * 1000) };
}

/**
 * One limiter for each limit, since theirs is fixed when they are made. The counters belong to the owner and
 * the name alone.
 */
export function limiters<L>(make: (quota: Quota) => L): (quota: Quota) => L {
  const made = new Map<string, L>();
  return (quota) => {
    const name = `${quota.limit}/${quota.windowSeconds}`;
    const known = made.get(name);
    if (known) return known;
    if (made.size >= LIMITERS_MAX) made.clear();
    const limiter = make(quota);
    made.set(name, limiter);
    return limiter;
  };
}

/** The counters of a platform that is one process, and of each gateway while Redis is away. */
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
    async giveBack(quota, points) {
      await limiterOf(quota).reward(keyOf(quota), points);
    },
    async close() {},
  };
}
