import type { EventLog } from "./event-log.ts";
import { asLogLine, type LoggedEvent } from "./events.ts";

/** A request's log lines as the event log has them, oldest first; none while it is away. */
export const readLogLines = async (
  events: Pick<EventLog, "read">,
  requestId: string,
): Promise<LoggedEvent[]> =>
  (await events.read(requestId).catch(() => [])).flatMap((event) => asLogLine(event) ?? []);
