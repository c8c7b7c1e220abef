/**
 * A concurrency slot is an owner's right to have one request running: an owner with the limit `inProgress`
 * has that many. Jobs that get none wait, in their own workflows, for the signal below.
 */

/** The Temporal signal that notifies a waiting job of its slot. */
export const SLOT_GRANTED_SIGNAL = "placeGranted";

/** A job's request for one of its owner's slots. */
export interface SlotRequest {
  requestId: string;
  ownerId: string;
  /** A lower value is granted first. */
  priority: number;
}

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
  acquireOrWait(request: SlotRequest): Promise<{ acquired: boolean; granted: string[] }>;
  /**
   * Releases a slot, or leaves the queue. Returns the requests that got a slot in this step and have to be
   * notified.
   */
  release(request: Pick<SlotRequest, "requestId" | "ownerId">): Promise<string[]>;
  /** Records that these requests were notified of their slots. */
  markNotified(requestIds: string[]): Promise<void>;
  /** Grants slots that a raised limit made available. Returns all requests that have a slot unnotified. */
  unnotified(): Promise<Pick<SlotRequest, "requestId" | "ownerId">[]>;
  /** Lists slots that were acquired at least `olderThanMs` ago, by position, those after `afterPosition`. */
  heldSince(
    olderThanMs: number,
    afterPosition: number,
    limit: number,
  ): Promise<(Pick<SlotRequest, "requestId" | "ownerId"> & { position: number })[]>;
}
