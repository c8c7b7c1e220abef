/**
 * Payload keys encrypt the data that Temporal stores: inputs, outputs, memos, failures. There may be several,
 * so that one can be replaced while data that the others encrypted is still read.
 */
export interface PayloadKeys {
  /** The key that encrypts new data; `undefined`: new data is not encrypted. */
  newest: PayloadKey | undefined;
  /** Every key that decrypts, by its id. */
  byId: ReadonlyMap<string, PayloadKey>;
}

export interface PayloadKey {
  /** Stored unencrypted beside the data that the key encrypted. */
  id: string;
  /** 32 bytes: AES-256. */
  bytes: Uint8Array;
}

/**
 * The binding of encrypted data to the location that it was encrypted for. `on`: new data is bound, and data
 * that is not bound, or not encrypted, is read too; `required`: such data is refused; `off`: new data is not
 * bound, for releases that cannot read it.
 */
export const PAYLOAD_BINDINGS = ["on", "required", "off"] as const;
export type PayloadBinding = (typeof PAYLOAD_BINDINGS)[number];

const KEY_BYTES = 32;

/**
 * Parses keys of the form `<id>:<32 bytes in base64>`, separated by commas. The first one encrypts; with
 * `off` in its location, all only decrypt. Throws an error that names a faulty key by its position and id,
 * never by its bytes.
 *
 * @example parsePayloadKeys("off,2026:q83v…=").newest // → undefined
 */
export function parsePayloadKeys(text: string): PayloadKeys {
  const parts = text.split(",").map((part) => part.trim());
  const off = parts[0] === "off";
  const byId = new Map<string, PayloadKey>();
  for (const [index, part] of (off ? parts.slice(1) : parts).entries()) {
    const [, id, base64] = /^([A-Za-z0-9._-]{1,64}):([A-Za-z0-9+/_-]+={0,2})$/.exec(part) ?? [];
    if (!id || !base64)
      throw new Error(
        `key ${index + 1} must be <id>:<32 bytes in base64>; make one with \`openssl rand -base64 32\``,
      );
    const bytes = Buffer.from(base64, "base64");
    if (bytes.length !== KEY_BYTES)
      throw new Error(`the key "${id}" has ${bytes.length} bytes, it must have ${KEY_BYTES}`);
    if (byId.has(id)) throw new Error(`the id "${id}" is used twice; give each key its own id`);
    byId.set(id, { id, bytes });
  }
  return { newest: off ? undefined : byId.values().next().value, byId };
}

/** The identity of a key that encrypted, without its bytes. */
export interface UsedPayloadKey {
  id: string;
  /** A value that is equal for equal keys and does not reveal the key. */
  checkValue: string;
}

/** Records the keys that encrypted data that Temporal may still have. Rejects with `store_unavailable`. */
export interface PayloadKeyRecord {
  /** Records that a key encrypts now. An id that is recorded already keeps its check value. */
  note(key: UsedPayloadKey): Promise<void>;
  /** Lists the keys that encrypted in the last `withinMs`. */
  used(withinMs: number): Promise<UsedPayloadKey[]>;
}
