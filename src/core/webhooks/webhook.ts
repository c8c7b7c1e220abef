/**
 * A delivery sends the outcome of a request to its webhook: the workflow `webhookDelivery`, with the id
 * `<request id>/webhook`. The schedule of its attempts is data, so that every delay can be short in a test.
 * Workflow code imports this: types and pure functions only.
 *
 * This folder has webhooks, their deliveries, and the keys that sign them.
 */
import type { Outcome, RequestIdentity } from "../requests/request.ts";

/** The task queue of the attempts, which orchestrators poll. */
export const WEBHOOK_QUEUE = "webhooks";

/** The URL that a submit named, and the schedule of attempts. */
export interface Webhook {
  url: string;
  /** Pauses between attempts; there is one more attempt than pauses. */
  delaysMs: number[];
  /** Longest time of one attempt, from the name lookup to the head of the response. */
  timeoutMs: number;
}

/** The input of a delivery. The outcome is inline up to 32 KiB, otherwise a reference. */
export interface WebhookDelivery
  extends Webhook,
    Pick<RequestIdentity, "requestId" | "ownerId" | "endpoint"> {
  outcome: Outcome;
  /** Number of attempts of the job, which decides `gateway_request_id`. */
  jobAttempts: number;
  /** 1 for the delivery that the job started; one more for each redelivery by an operator. */
  round: number;
  /** The request whose dead letter this request retries. */
  retryOf?: string;
}

/** The result of one attempt. */
export interface DeliveryAttempt {
  round: number;
  /** 1, 2, … within its round. */
  attempt: number;
  startedAtMs: number;
  durationMs: number;
  /** The receiver's status; absent when there was no response. */
  status?: number;
  /** The reason of the failure, a sentence. Absent after a 2xx status. */
  error?: string;
}

export type DeliveryState = "pending" | "delivered" | "dead";

export function deliveryWorkflowId(requestId: string): string {
  return `${requestId}/webhook`;
}

/** Returns `host:port`, for which concurrent attempts are limited. */
export function hostOf(url: string): string {
  return new URL(url).host;
}

/**
 * Returns Temporal's fairness key: deliveries to different receivers alternate, whatever the backlog of one
 * of them. Temporal allows 64 bytes.
 */
export function fairnessKeyOf({ url }: Pick<Webhook, "url">): string {
  return hostOf(url).slice(-64);
}
