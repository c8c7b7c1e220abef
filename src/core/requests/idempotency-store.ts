/** A claim is an idempotency key that was used: the call that it was first used for, and its request. */
export interface Claim {
  /** The request of the first call. */
  requestId: string;
  /** SHA-256 of the endpoint and the input, hex. */
  fingerprint: string;
  /** True when the present call made the claim. */
  isOwn: boolean;
  /** The response of a write, once there is one. */
  answer?: Buffer;
  /** Milliseconds since the claim was made, by the database's clock. */
  ageMs: number;
}

/** The name of a claim. Each owner has its own keys. */
export interface ClaimName {
  ownerId: string;
  key: string;
}

/**
 * Stores claims and decides which call was first. It uses only the database's clock, so that gateways whose
 * clocks differ or jump agree. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface ClaimStore {
  /**
   * Makes a claim, or returns the existing one, in one statement. A claim expires after `seconds`.
   *
   * @param requestId absent: the id of the request is derived from the name of the claim. Such a claim need
   *   not be on disk when this resolves: if it were lost, the next call would get the same id, and starting
   *   the request twice would be noticed. It must last a day.
   */
  claim(name: ClaimName, claim: { requestId?: string; fingerprint: string; seconds: number }): Promise<Claim>;

  /** Records that another call relies on the claim; false when the claim was released before. */
  share(name: ClaimName, requestId: string): Promise<boolean>;

  /** Releases the claim of a refused request; a claim that another call relies on stays. */
  release(name: ClaimName, requestId: string): Promise<void>;

  /** Stores the response of a write. */
  answer(name: ClaimName, requestId: string, answer: Buffer): Promise<void>;

  /**
   * Takes over the claim of a write without a response, when it is older than `olderThanMs`; false when
   * another call was faster.
   */
  takeOver(name: ClaimName, requestId: string, newRequestId: string, olderThanMs: number): Promise<boolean>;

  /** Deletes up to `limit` expired claims. Returns their number. */
  sweep(limit: number): Promise<number>;
}
