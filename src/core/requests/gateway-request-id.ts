import { createHash } from "node:crypto";

/**
 * Makes fal's `gateway_request_id` of an attempt (contract §8): the request's own id for the first attempt,
 * and another one for each later attempt. It is a UUIDv8 of request id and attempt, the same in every
 * process.
 */
export function gatewayRequestId(requestId: string, attempt: number): string {
  if (attempt <= 1) return requestId;
  const bytes = createHash("sha256").update(`${requestId}/${attempt}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  const hex = bytes.toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
