/**
 * Payload keys encrypt what Temporal stores: inputs, outputs, memos, failures. There are several, so that one
 * can be replaced while what the others encrypted is still read.
 */
export interface PayloadKeys {
  /** What encrypts from now on; `undefined`: nothing is encrypted any more. */
  newest: PayloadKey | undefined;
  /** Every key that decrypts, by its id. */
  byId: ReadonlyMap<string, PayloadKey>;
}

export interface PayloadKey {
  /** Stands in the open beside what it encrypted. */
  id: string;
  /** 32 bytes: AES-256. */
  bytes: Uint8Array;
}

const KEY_BYTES = 32;

/**
 * Reads `<id>:<32 bytes in base64>` with commas between them, the one that encrypts first; `off` first: only
 * decrypt. Throws a sentence that names a faulty key by its place and id, never by its bytes.
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
    if (byId.has(id)) throw new Error(`the id "${id}" is there twice; each key needs its own`);
    byId.set(id, { id, bytes });
  }
  return { newest: off ? undefined : byId.values().next().value, byId };
}

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
