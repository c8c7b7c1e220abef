import { randomBytes } from "node:crypto";

/**
 * The millisecond of the last id, and its place within it: ids of one process rise even within a millisecond.
 */
let last = { ms: 0, sequence: 0 };
const SEQUENCE_MAX = 0xfff;

/**
 * A UUIDv7 (RFC 9562 §5.7, with the counter of §6.2 method 1): 48 bits of Unix milliseconds, a 12-bit
 * sequence that starts at random in the lower half, 62 random bits. Sorts by time of creation; what was made
 * in one millisecond keeps its order.
 */
export function newRequestId(nowMs: number = Date.now()): string {
  const bytes = randomBytes(16);
  if (nowMs > last.ms) last = { ms: nowMs, sequence: bytes.readUInt16BE(6) & (SEQUENCE_MAX >> 1) };
  else if (last.sequence < SEQUENCE_MAX) last.sequence++;
  else last = { ms: last.ms + 1, sequence: 0 };
  bytes.writeUIntBE(last.ms, 0, 6);
  bytes.writeUInt16BE(0x7000 | last.sequence, 6);
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
