/**
 * The in-memory stores: real adapters for a platform that is one process, held to the same suites as Redis.
 */
import type { LiveStores } from "../../core/operations/live-stores.ts";
import { createMemoryEventLog } from "./event-log.ts";
import { createMemoryFrameChannel } from "./frame-channel.ts";
import { createMemoryQuotas } from "./quotas.ts";

/** Creates the stores of short-lived state in this process's memory. */
export function createMemoryStores(): LiveStores {
  return {
    events: createMemoryEventLog(),
    frames: createMemoryFrameChannel(),
    quotas: createMemoryQuotas(),
  };
}
