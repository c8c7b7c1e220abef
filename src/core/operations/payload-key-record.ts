/** A key that encrypted, without the key. */
export interface UsedPayloadKey {
  id: string;
  /** Equal for equal keys, and leads to none. */
  checkValue: string;
}

/** Remembers which keys encrypted what Temporal may still hold. Rejects with `store_unavailable`. */
export interface PayloadKeyRecord {
  /** Notes that a key encrypts now. What is noted of the id already keeps its check value. */
  note(key: UsedPayloadKey): Promise<void>;
  /** Those that encrypted in the last `withinMs`. */
  used(withinMs: number): Promise<UsedPayloadKey[]>;
}
