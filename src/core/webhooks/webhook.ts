/**
 * A delivery is one webhook on its way to its receiver: the workflow `webhookDelivery`, `<request
 * id>/webhook`. It makes its attempts by a schedule that is data, so that every delay can be short in a test.
 * Imported by workflow code: types and pure functions only.
 */
import type { Outcome, RequestIdentity } from "../requests/request.ts";

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

/** Everything a delivery needs. The outcome is inline up to 32 KiB, else a reference. */
export interface WebhookDelivery
  extends Webhook,
    Pick<RequestIdentity, "requestId" | "ownerId" | "endpoint"> {
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
 * Deliveries to different receivers take turns, whatever the backlog of one of them; Temporal allows 64
 * bytes.
 */
export const fairnessKeyOf = ({ url }: Pick<Webhook, "url">): string => hostOf(url).slice(-64);
