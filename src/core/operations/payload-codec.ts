/** A value as Temporal stores it: its bytes, and the metadata that describes their encoding. */
export interface StoredPayload {
  metadata?: { [name: string]: Uint8Array } | null;
  data?: Uint8Array | null;
}

/** Converts between payloads and the form in which Temporal stores them. */
export interface PayloadCodec {
  /** Encrypts when encryption is configured. */
  encode(payloads: StoredPayload[]): Promise<StoredPayload[]>;
  /**
   * Decrypts. Returns unencrypted payloads unchanged. Rejects with `payload_unreadable` when a key is missing
   * or wrong.
   */
  decode(payloads: StoredPayload[]): Promise<StoredPayload[]>;
}
