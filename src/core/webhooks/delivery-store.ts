import type { DeliveryAttempt, DeliveryState, WebhookDelivery } from "./webhook.ts";

/** What is kept of a delivery. Temporal owns whether one is under way; this is its searchable record. */
export interface DeliveryRecord {
  requestId: string;
  ownerId: string;
  endpoint: string;
  url: string;
  state: DeliveryState;
  /** Times it was started: once by its job, then by operators. */
  round: number;
  attempts: number;
  createdAtMs: number;
  updatedAtMs: number;
  /** When it is tried next; absent once it is delivered or dead. */
  nextAttemptAtMs?: number;
  lastStatus?: number;
  lastError?: string;
  /** The request whose dead letter this request tries again. */
  retryOf?: string;
}

/** A place in a list, newest first: what `before` names comes next. */
export interface Page {
  limit: number;
  before?: { atMs: number; requestId: string };
}

/** Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface DeliveryStore {
  /** Records an attempt and the state it leaves. Harmless to repeat. */
  record(
    delivery: Pick<WebhookDelivery, "requestId" | "ownerId" | "endpoint" | "url" | "round" | "retryOf">,
    attempt: DeliveryAttempt,
    after: { state: DeliveryState; nextAttemptAtMs?: number },
  ): Promise<void>;

  find(requestId: string): Promise<{ delivery: DeliveryRecord; attempts: DeliveryAttempt[] } | undefined>;

  /** Newest first. */
  list(page: Page & { state?: DeliveryState }): Promise<DeliveryRecord[]>;
}

/** Starts deliveries on behalf of operators; the first one of a request is started by its job. */
export interface Deliveries {
  /**
   * Starts a delivery; one that is waiting for its next attempt makes it at once instead, to this one's
   * address. Rejects with `temporal_unavailable`.
   */
  start(delivery: WebhookDelivery): Promise<"started" | "hurried">;
}
