import type { DeliveryAttempt, DeliveryState, WebhookDelivery } from "./webhook.ts";

/** The searchable record of a delivery. Temporal has the truth about whether it is running. */
export interface DeliveryRecord {
  requestId: string;
  ownerId: string;
  endpoint: string;
  url: string;
  state: DeliveryState;
  /** Number of its starts: the first by its job, later ones by operators. */
  round: number;
  attempts: number;
  createdAtMs: number;
  updatedAtMs: number;
  /** Time of the next attempt; absent once it is delivered or dead. */
  nextAttemptAtMs?: number;
  lastStatus?: number;
  lastError?: string;
  /** The request whose dead letter this request retries. */
  retryOf?: string;
}

/** A page of a list, newest first; it continues after the item that `before` names. */
export interface Page {
  limit: number;
  before?: { atMs: number; requestId: string };
}

/**
 * Stores records of deliveries. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface DeliveryStore {
  /** Records an attempt and the state after it. Repeating it changes nothing. */
  record(
    delivery: Pick<WebhookDelivery, "requestId" | "ownerId" | "endpoint" | "url" | "round" | "retryOf">,
    attempt: DeliveryAttempt,
    after: { state: DeliveryState; nextAttemptAtMs?: number },
  ): Promise<void>;

  find(requestId: string): Promise<{ delivery: DeliveryRecord; attempts: DeliveryAttempt[] } | undefined>;

  /** Lists deliveries, newest first. */
  list(page: Page & { state?: DeliveryState }): Promise<DeliveryRecord[]>;
}

/** Starts deliveries for operators; the first delivery of a request is started by its job. */
export interface Deliveries {
  /**
   * Starts a delivery. One that waits for its next attempt makes it now instead, to the URL of the given one.
   * Rejects with `temporal_unavailable`.
   */
  start(delivery: WebhookDelivery): Promise<"started" | "retried_now">;
}
