/** A value as Temporal stores it: its bytes, and how they are to be read. */
export interface StoredPayload {
  metadata?: { [name: string]: Uint8Array } | null;
  data?: Uint8Array | null;
}

/** Between what Temporal stores and what it stands for. */
export interface PayloadCodec {
  /** Encrypts, where that is configured. */
  encode(payloads: StoredPayload[]): Promise<StoredPayload[]>;
  /**
   * Rejects with `payload_unreadable` when a key is missing or wrong. What is not encrypted comes back as it
   * is.
   */
  decode(payloads: StoredPayload[]): Promise<StoredPayload[]>;
}
