import { RateLimiterRedis } from "rate-limiter-flexible";
import type { Quota, Quotas } from "../../core/owners/quotas.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { createMemoryQuotas, limiters, refusal } from "../memory/quotas.ts";
import { connectRedis } from "./connection.ts";

/** Longest wait for Redis: a limit must not cost a caller more than this. */
const ANSWER_MS = 250;
/** How long Redis is not asked again after it failed to answer. */
const PAUSE_MS = 1_000;
/**
 * Refusals of windows up to this long are remembered here until the window ends: a flood costs Redis nothing.
 */
const REMEMBERED_SECONDS = 10;

export interface RedisQuotasOptions {
  url: string;
  /** With which certificates, where Redis speaks TLS. */
  tls?: ServiceTls | undefined;
  /** What every key begins with. */
  prefix: string;
  log?: (line: string) => void;
}

/**
 * The counters of all gateways, in Redis: keys `<prefix>limits:{<owner>}:<name>`, so that in a cluster all of
 * one owner's are in one slot. While Redis is away or silent, each gateway counts for itself, and an owner
 * has its limit at each of them.
 */
export function createRedisQuotas({ url, tls, prefix, log }: RedisQuotasOptions): Quotas {
  const redis = connectRedis({ url, tls, answerMs: ANSWER_MS, log });
  const own = createMemoryQuotas();
  const limiterOf = limiters(
    ({ limit, windowSeconds }) =>
      new RateLimiterRedis({
        storeClient: redis.client,
        keyPrefix: `${prefix}limits`,
        points: limit,
        duration: windowSeconds,
        rejectIfRedisNotReady: true,
        ...(windowSeconds <= REMEMBERED_SECONDS && { inMemoryBlockOnConsumed: limit + 1 }),
      }),
  );
  const keyOf = ({ ownerId, name }: Quota): string => `{${ownerId}}:${name}`;
  /** By a clock that does not jump. */
  let awayUntilMs = 0;

  /** What Redis says, or `undefined` when it does not. */
  const ask = async <T>(
    command: () => Promise<T>,
    refused?: (error: unknown) => T,
  ): Promise<T | undefined> => {
    if (performance.now() < awayUntilMs) return undefined;
    try {
      return await redis.answer(
        command().catch((error: unknown) => {
          if (refused) return refused(error);
          throw error;
        }),
      );
    } catch {
      awayUntilMs = performance.now() + PAUSE_MS;
      return undefined;
    }
  };

  return {
    async take(quota, points) {
      const said = await ask(
        () =>
          limiterOf(quota)
            .consume(keyOf(quota), points)
            .then(() => ({ ok: true as const })),
        (error) => refusal(error, quota),
      );
      return said ?? own.take(quota, points);
    },
    async giveBack(quota, points) {
      const said = await ask(() => limiterOf(quota).reward(keyOf(quota), points));
      if (said === undefined) await own.giveBack(quota, points);
    },
    async close() {
      redis.client.disconnect();
    },
  };
}
