import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { connectRedis } from "./connection.ts";

/** Longest wait for Redis, in milliseconds. */
const ANSWER_MS = 3_000;
/** Time after which the key of the check expires, in seconds. */
const KEPT_SECONDS = 60;

/** A check whether Redis takes writes, on a connection of its own. */
export interface RedisCheck {
  /** Writes one small key. Rejects with `store_full` or `store_unavailable`. */
  check(): Promise<void>;
  close(): void;
}

/** @param options `prefix` begins the key */
export function createRedisCheck(options: {
  url: string;
  tls: ServiceTls | undefined;
  prefix: string;
}): RedisCheck {
  const { url, tls, prefix } = options;
  const redis = connectRedis({ url, tls, answerMs: ANSWER_MS });
  return {
    check: async () => {
      await redis.answer(redis.client.set(`${prefix}health`, "1", "EX", KEPT_SECONDS));
    },
    close: () => redis.client.disconnect(),
  };
}
