import type { Quotas } from "../owners/quotas.ts";
import type { EventLog } from "../requests/event-log.ts";
import type { FrameChannel } from "../requests/sessions.ts";

/**
 * The stores of short-lived state, shared by all processes. Any of them may be lost at any time: freshness
 * is lost, no result.
 */
export interface LiveStores {
  /** Current state, progress and log lines of each request. */
  events: EventLog;
  /** Carries realtime frames between gateways and GPU workers. */
  frames: FrameChannel;
  /** Counters of request rates. */
  quotas: Quotas;
}
