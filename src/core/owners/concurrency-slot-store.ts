/**
 * A concurrency slot is an owner's right to have one request running: an owner with the limit `inProgress`
 * has that many. Jobs that get none wait, in their own workflows, for the signal below. The nodes of a
 * pipeline take slots too; the first runs in the pipeline's own (`src/workflows/node-slots.ts`).
 */

/** The Temporal signal that notifies a waiting job of its slot; a pipeline, with its node's request id. */
export const SLOT_GRANTED_SIGNAL = "placeGranted";

/** A job's request for one of its owner's slots. */
export interface SlotRequest {
  requestId: string;
  ownerId: string;
  /** A lower value is granted first. */
  priority: number;
  /** The workflow that waits for it: the pipeline of a node. Absent: the request's own. */
  workflowId?: string;
}

/** A request that holds a slot or waits for one. */
export type SlotHolder = Pick<SlotRequest, "requestId" | "ownerId" | "workflowId">;

/**
 * Grants slots, and queues requests that have to wait. The database decides in one step, by the owner's
 * limit at that moment; without a limit every request gets a slot. Every method rejects with
 * `store_unavailable` when PostgreSQL cannot be reached.
 */
export interface ConcurrencySlotStore {
  /** Acquires a slot, or returns false at once. Acquiring one twice is not an error. */
  acquire(request: SlotRequest): Promise<boolean>;
  /**
   * Acquires a slot or joins the queue. `acquired`: the request has a slot. `granted`: other requests that
   * got a slot in this step and have to be notified.
   */
  acquireOrWait(request: SlotRequest): Promise<{ acquired: boolean; granted: SlotHolder[] }>;
  /**
   * Releases a slot, or leaves the queue. Returns the requests that got a slot in this step and have to be
   * notified.
   */
  release(request: Pick<SlotRequest, "requestId" | "ownerId">): Promise<SlotHolder[]>;
  /** Records that these requests were notified of their slots. */
  markNotified(requestIds: string[]): Promise<void>;
  /** Grants slots that a raised limit made available. Returns all requests that have a slot unnotified. */
  unnotified(): Promise<SlotHolder[]>;
  /** Lists slots that were acquired at least `olderThanMs` ago, by position, those after `afterPosition`. */
  heldSince(
    olderThanMs: number,
    afterPosition: number,
    limit: number,
  ): Promise<(SlotHolder & { position: number })[]>;
}
