import { randomInt } from "node:crypto";
import { v7 } from "uuid";

const SEQUENCE_MAX = 2 ** 32 - 1;
/** The millisecond and the sequence number of the last id of this process. */
let last = { ms: 0, sequence: 0 };

/**
 * Makes a request id: a UUIDv7 (RFC 9562 §5.7) that sorts by time of creation. Ids of one process rise also
 * within a millisecond, and when the clock goes back: the sequence begins at random in its lower half and
 * counts up until the next millisecond.
 */
export function newRequestId(nowMs: number = Date.now()): string {
  if (nowMs > last.ms) last = { ms: nowMs, sequence: randomInt(2 ** 31) };
  else if (last.sequence < SEQUENCE_MAX) last.sequence++;
  else last = { ms: last.ms + 1, sequence: 0 };
  return v7({ msecs: last.ms, seq: last.sequence });
}
