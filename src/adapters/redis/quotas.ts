import { RateLimiterRedis } from "rate-limiter-flexible";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import type { Quota, Quotas } from "../../core/owners/quotas.ts";
import { createMemoryQuotas, limiters, refusal } from "../memory/quotas.ts";
import { connectRedis } from "./connection.ts";

/** Longest wait for Redis, in milliseconds: a limit must not delay a caller for longer. */
const ANSWER_MS = 250;
/** Pause before Redis is tried again after a failure, in milliseconds. */
const PAUSE_MS = 1_000;
/**
 * Refusals in windows up to this length are cached here until the window ends: a flood does not reach Redis.
 */
const CACHED_SECONDS = 10;

export interface RedisQuotasOptions {
  url: string;
  /** Certificates, where Redis speaks TLS. */
  tls?: ServiceTls | undefined;
  /** Begins every key. */
  prefix: string;
  /** Receives a sentence when Redis cannot be reached, and when it is back. */
  log?: (message: string) => void;
}

/**
 * Creates the counters that all gateways share, in Redis: keys `<prefix>limits:{<owner>}:<name>`, so that in
 * a cluster all counters of one owner are on one node. While Redis is unavailable, each gateway counts for
 * itself, and an owner has its limit at each of them.
 */
export function createRedisQuotas({ url, tls, prefix, log }: RedisQuotasOptions): Quotas {
  const redis = connectRedis({ url, tls, answerMs: ANSWER_MS, log });
  const local = createMemoryQuotas();
  const limiterOf = limiters(
    ({ limit, windowSeconds }) =>
      new RateLimiterRedis({
        storeClient: redis.client,
        keyPrefix: `${prefix}limits`,
        points: limit,
        duration: windowSeconds,
        rejectIfRedisNotReady: true,
        ...(windowSeconds <= CACHED_SECONDS && { inMemoryBlockOnConsumed: limit + 1 }),
      }),
  );
  const keyOf = ({ ownerId, name }: Quota): string => `{${ownerId}}:${name}`;
  /** By the monotonic clock. */
  let pausedUntilMs = 0;

  /** Runs a command; `undefined` while Redis is unavailable. @param refused maps the limiter's refusal */
  const attempt = async <T>(
    command: () => Promise<T>,
    refused?: (error: unknown) => T,
  ): Promise<T | undefined> => {
    if (performance.now() < pausedUntilMs) return undefined;
    try {
      return await redis.answer(
        command().catch((error: unknown) => {
          if (refused) return refused(error);
          throw error;
        }),
      );
    } catch {
      pausedUntilMs = performance.now() + PAUSE_MS;
      return undefined;
    }
  };

  return {
    async take(quota, points) {
      const decision = await attempt(
        () =>
          limiterOf(quota)
            .consume(keyOf(quota), points)
            .then(() => ({ ok: true as const })),
        (error) => refusal(error, quota),
      );
      return decision ?? local.take(quota, points);
    },
    async refund(quota, points) {
      const decision = await attempt(() => limiterOf(quota).reward(keyOf(quota), points));
      if (decision === undefined) await local.refund(quota, points);
    },
    async close() {
      redis.client.disconnect();
    },
  };
}
