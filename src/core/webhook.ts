/**
 * A delivery is one webhook on its way to its receiver: the workflow `webhookDelivery`, `<request id>/webhook`. It makes its
 * attempts by a schedule that is data, so that every delay can be short in a test. Imported by workflow code: types and pure
 * functions only.
 */
import { type AllowedPrivate, mayReach, parseAddress } from "./address-guard.ts";
import { TemperaError } from "./errors/tempera-error.ts";
import { LIMITS } from "./limits.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

/** The task queue of the attempts; orchestrators poll it. */
export const WEBHOOK_QUEUE = "webhooks";

/** What a submit asked to be told to, and how it is tried. */
export interface Webhook {
  url: string;
  /** Pauses between attempts; there is one attempt more than pauses. */
  delaysMs: number[];
  /** Longest time one attempt may take, from the name look-up to the head of the answer. */
  timeoutMs: number;
}

/** The schedule for deliveries that start now. */
export type WebhookSchedule = Pick<Webhook, "delaysMs" | "timeoutMs">;

/** Everything a delivery needs. The outcome is inline up to 32 KiB, else a reference. */
export interface WebhookDelivery extends Webhook, Pick<RequestIdentity, "requestId" | "ownerId" | "endpoint"> {
  outcome: Outcome;
  /** Attempts of the job; decides `gateway_request_id`. */
  jobAttempts: number;
  /** 1 for the delivery that the job started; each redelivery by an operator is one more. */
  round: number;
  /** The request whose dead letter this request tries again. */
  retryOf?: string;
}

/** How one attempt went. */
export interface DeliveryAttempt {
  round: number;
  /** 1, 2, … within its round. */
  attempt: number;
  startedAtMs: number;
  durationMs: number;
  /** The receiver's status; absent when it gave none. */
  status?: number;
  /** Why it failed, in a sentence. Absent after a 2xx. */
  error?: string;
}

export type DeliveryState = "pending" | "delivered" | "dead";

export const deliveryWorkflowId = (requestId: string): string => `${requestId}/webhook`;

/** `host:port`: what shares one allowance of attempts in flight. */
export const hostOf = (url: string): string => new URL(url).host;

/**
 * Reads `fal_webhook` of a submit: http(s), no credentials in it, at most `LIMITS.webhookUrlBytesMax` bytes, and not an address
 * that may not be reached. A name is looked up only when it is delivered to.
 *
 * @throws TemperaError `webhook_invalid`
 */
export function checkWebhookUrl(text: string, allowed: AllowedPrivate): string {
  const refuse = (why: string): never => {
    throw new TemperaError("webhook_invalid", `The webhook address ${why}`);
  };
  // Bytes, not characters; no character is longer than three bytes per UTF-16 unit.
  if (text.length > LIMITS.webhookUrlBytesMax || new TextEncoder().encode(text).length > LIMITS.webhookUrlBytesMax)
    return refuse(`is longer than ${LIMITS.webhookUrlBytesMax} bytes; give a shorter one.`);
  if (!URL.canParse(text)) return refuse("is not a URL; give one like https://example.com/hook.");
  const url = new URL(text);
  if (url.protocol !== "https:" && url.protocol !== "http:") return refuse(`begins with ${url.protocol}; give an http or https URL.`);
  if (url.username !== "" || url.password !== "")
    return refuse("has a user name or password in it; leave them out, deliveries are signed.");
  if (parseAddress(url.hostname) && !mayReach(url.hostname, allowed))
    return refuse(`names ${url.hostname}, which is not public; the operator can allow it with TEMPERA_ALLOW_PRIVATE_ADDRESSES.`);
  url.hash = "";
  return url.href;
}
