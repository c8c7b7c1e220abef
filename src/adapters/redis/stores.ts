/** The Redis stores of short-lived state, which any number of processes share. */
import type { LiveStores } from "../../core/operations/live-stores.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";
import { createRedisEventLog } from "./event-log.ts";
import { createRedisFrameChannel } from "./frame-channel.ts";
import { createRedisQuotas } from "./quotas.ts";

/**
 * Creates the stores of short-lived state on one Redis, each with connections of its own.
 *
 * @param prefix  begins every key and channel
 * @param warn    receives a sentence when Redis cannot be reached, and when it is back
 */
export function createRedisStores({
  url,
  tls,
  prefix,
  warn,
}: {
  url: string;
  tls: ServiceTls | undefined;
  prefix: string;
  warn: (message: string) => void;
}): LiveStores {
  return {
    events: createRedisEventLog({ url, tls, prefix, log: warn }),
    frames: createRedisFrameChannel({ url, tls, prefix }),
    quotas: createRedisQuotas({ url, tls, prefix, log: (message) => warn(`limits: ${message}`) }),
  };
}
