/** The claim that an idempotency key is: what it was first used for, and the request that came of it. */
export interface Claim {
  /** Whoever asked first. */
  requestId: string;
  /** SHA-256 of the endpoint and the input, hex. */
  fingerprint: string;
  /** Made by this very call. */
  isOwn: boolean;
  /** What a write was answered, once it was. */
  answer?: Buffer;
  /** Milliseconds since it was claimed, by the clock of the database. */
  ageMs: number;
}

/** Names a claim. Owners do not see each other's keys. */
export interface ClaimName {
  ownerId: string;
  key: string;
}

/**
 * The judge of who was first. Lives by the clock of the database alone, so that gateways whose clocks differ
 * or jump agree. Every method rejects with `store_unavailable` when Postgres cannot be reached.
 */
export interface ClaimStore {
  /**
   * Claims the key, or tells who has it; one statement. A claim is forgotten after `seconds`.
   *
   * @param requestId without it, the request is given an id that follows from the name of the claim, and the claim need not be on disk
   *   when this resolves: were it lost, the next call would get the same id, and whoever starts requests would know it. Such a claim
   *   must last a day.
   */
  claim(name: ClaimName, claim: { requestId?: string; fingerprint: string; seconds: number }): Promise<Claim>;

  /** Says that another caller relies on the claim from now on; false when it was released meanwhile. */
  share(name: ClaimName, requestId: string): Promise<boolean>;

  /** Takes a claim back whose request was refused; one that another caller relies on stays. */
  release(name: ClaimName, requestId: string): Promise<void>;

  /** Keeps what a write was answered. */
  answer(name: ClaimName, requestId: string, answer: Buffer): Promise<void>;

  /**
   * Takes over the claim of a write that was never answered, when it is older than `olderThanMs`; false when
   * somebody else did.
   */
  takeOver(name: ClaimName, requestId: string, newRequestId: string, olderThanMs: number): Promise<boolean>;

  /** Deletes up to `limit` claims whose time has passed; returns how many went. */
  sweep(limit: number): Promise<number>;
}
