/**
 * A concurrency slot is an owner's right to have one request running: an owner with the limit `inProgress` has
 * that many. Jobs that get none wait, in their own workflows, for the signal below.
 */

/** The Temporal signal that notifies a waiting job of its slot. */
export const SLOT_GRANTED_SIGNAL = "placeGranted";

/** A job's request for one of its owner's slots. */
export interface SlotRequest {
  requestId: string;
  ownerId: string;
  /** Lower goes first. */
  priority: number;
}

/**
 * Who holds a place and who waits for one. Judged in one step by the database, by what the owner's allowance
 * says at that moment; without a limit everybody has a place. Every method rejects with `store_unavailable`
 * when Postgres cannot be reached.
 */
export interface ConcurrencySlotStore {
  /** Takes a place, or refuses at once. Taking one twice is no error. */
  acquire(seeker: SlotRequest): Promise<boolean>;
  /**
   * Takes a place or joins the line. `mine`: the place is taken; `granted`: others whose turn came with this,
   * still to be told.
   */
  acquireOrWait(seeker: SlotRequest): Promise<{ acquired: boolean; granted: string[] }>;
  /**
   * Gives a place, or one's turn in the line, back. Returns the requests whose turn has come, still to be
   * told.
   */
  release(seeker: Pick<SlotRequest, "requestId" | "ownerId">): Promise<string[]>;
  /** These were told. */
  notified(requestIds: string[]): Promise<void>;
  /** Gives the places that a raised limit has made, and returns whoever has one and was never told. */
  unnotified(): Promise<Pick<SlotRequest, "requestId" | "ownerId">[]>;
  /** Places that were taken `olderThanMs` ago or earlier, by turn, after the turn `afterTurn`. */
  heldSince(
    olderThanMs: number,
    afterTurn: number,
    limit: number,
  ): Promise<(Pick<SlotRequest, "requestId" | "ownerId"> & { position: number })[]>;
}
