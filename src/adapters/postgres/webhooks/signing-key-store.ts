import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import { LRUCache } from "lru-cache";
import { isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { Clock } from "../../../core/operations/clock.ts";
import type { SecretStore } from "../../../core/operations/secret-store.ts";
import {
  nextSigner,
  PUBLISHED_MS,
  publishedAt,
  type SigningKey,
  signerAt,
} from "../../../core/webhooks/signing-key.ts";
import type { SigningKeyStore } from "../../../core/webhooks/signing-key-store.ts";
import { answer, inTransaction, type Sql } from "../connection.ts";

interface SigningKeyRow {
  key_id: string;
  public_key: string;
  sealed_private_key: Buffer;
  created_at: Date;
  signs_from: Date;
  revoked_at: Date | null;
}

/** A key whose private half is encrypted. */
interface SealedKey extends SigningKey {
  sealed: Buffer;
}

const keyOf = (row: SigningKeyRow): SealedKey => ({
  keyId: row.key_id,
  publicKey: row.public_key,
  sealed: row.sealed_private_key,
  createdAtMs: row.created_at.getTime(),
  signsFromMs: row.signs_from.getTime(),
  ...(row.revoked_at && { revokedAtMs: row.revoked_at.getTime() }),
});

const publicPart = ({ sealed: _, ...key }: SealedKey): SigningKey => key;

const IV_BYTES = 12;
const TAG_BYTES = 16;

/**
 * Encrypts with AES-256-GCM; returns nonce, tag and ciphertext. The key's id is authenticated too, so that
 * the private halves of two rows cannot be swapped.
 */
function seal(secret: Uint8Array, keyId: string, plain: Buffer): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", secret, iv).setAAD(Buffer.from(keyId));
  const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

function unseal(secret: Uint8Array, keyId: string, sealed: Buffer): Buffer {
  const decipher = createDecipheriv("aes-256-gcm", secret, sealed.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  }).setAAD(Buffer.from(keyId));
  decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
}

/** Generates a key pair. Its id is the thumbprint of its public half (RFC 7638). */
function newKey(secret: Uint8Array): Pick<SealedKey, "keyId" | "publicKey" | "sealed"> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const x = publicKey.export({ format: "jwk" }).x as string;
  const keyId = createHash("sha256")
    .update(writeJson({ crv: "Ed25519", kty: "OKP", x }))
    .digest("base64url");
  return {
    keyId,
    publicKey: x,
    sealed: seal(secret, keyId, privateKey.export({ format: "der", type: "pkcs8" })),
  };
}

/**
 * Creates the PostgreSQL store of signing keys. The keys are cached for `LIMITS.signingKeysCacheMs`, and for
 * longer while PostgreSQL is unavailable.
 *
 * @param secrets has the secret that private halves are encrypted with
 */
export function createSigningKeyStore(
  sql: Sql,
  { secrets, clock }: { secrets: SecretStore; clock: Clock },
): SigningKeyStore {
  return new PostgresSigningKeys(sql, secrets, clock);
}

class PostgresSigningKeys implements SigningKeyStore {
  readonly #sql: Sql;
  readonly #secrets: SecretStore;
  readonly #clock: Clock;
  /** The keys as they were last read or written by this process. */
  #cached: { keys: SealedKey[]; atMs: number } | undefined;
  /** The read under way; all callers share it. */
  #reading: Promise<SealedKey[]> | undefined;
  /** Decrypted private halves, by key id. */
  readonly #opened = new LRUCache<string, KeyObject>({ max: 8 });

  constructor(sql: Sql, secrets: SecretStore, clock: Clock) {
    this.#sql = sql;
    this.#secrets = secrets;
    this.#clock = clock;
  }

  async sign(message: string): Promise<{ keyId: string; signature: Buffer }> {
    const key = signerAt(await this.#current(), this.#clock.nowMs());
    if (!key)
      throw new TemperaError("store_unavailable", "There is no signing key, and none can be made right now.");
    return { keyId: key.keyId, signature: sign(null, Buffer.from(message), await this.#open(key)) };
  }

  async published(): Promise<SigningKey[]> {
    return publishedAt(await this.#current(), this.#clock.nowMs()).map(publicPart);
  }

  async list(): Promise<SigningKey[]> {
    const rows = await answer(
      this.#sql,
      this.#sql<SigningKeyRow[]>`SELECT * FROM signing_keys ORDER BY created_at DESC, key_id`,
    );
    return rows.map((row) => publicPart(keyOf(row)));
  }

  async rotate({ now = false, revoke = false }: { now?: boolean; revoke?: boolean }): Promise<SigningKey> {
    const secret = await this.#secret();
    let made: SealedKey | undefined;
    await this.#change((before) => {
      const atMs = this.#clock.nowMs();
      const waiting = nextSigner(before, atMs);
      const atOnce = now || revoke || !signerAt(before, atMs);
      if (waiting && !atOnce) {
        throw new TemperaError(
          "rotation_pending",
          `Key ${waiting.keyId} is published already and signs from ` +
            `${new Date(waiting.signsFromMs).toISOString()}; wait for it, or rotate at once.`,
        );
      }
      // A key that waits is not affected: it signs from the time that was published to receivers.
      made = { ...newKey(secret), createdAtMs: atMs, signsFromMs: atOnce ? atMs : atMs + PUBLISHED_MS };
      return { key: made, revoke };
    });
    return publicPart(made as unknown as SealedKey);
  }

  #secret(): Promise<Uint8Array> {
    return this.#secrets.secret("signing-keys");
  }

  /**
   * Returns the cached keys, or reads them. While PostgreSQL is unavailable, old ones are better than none.
   */
  async #current(): Promise<SealedKey[]> {
    const cached = this.#cached;
    if (cached && this.#clock.nowMs() - cached.atMs < LIMITS.signingKeysCacheMs) return cached.keys;
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    try {
      return await this.#reading;
    } catch (error) {
      if (!this.#cached || !isTemperaError(error)) throw error;
      return this.#cached.keys;
    }
  }

  /** Reads all keys, and makes the first one when none signs. */
  async #read(): Promise<SealedKey[]> {
    const rows = await answer(this.#sql, this.#sql<SigningKeyRow[]>`SELECT * FROM signing_keys`);
    const keys = rows.map(keyOf);
    if (!signerAt(keys, this.#clock.nowMs())) {
      const secret = await this.#secret();
      return this.#change((before) => {
        const now = this.#clock.nowMs();
        if (signerAt(before, now)) return undefined;
        return { key: { ...newKey(secret), createdAtMs: now, signsFromMs: now }, revoke: false };
      });
    }
    this.#cached = { keys, atMs: this.#clock.nowMs() };
    return keys;
  }

  /** Lets one process at a time decide on a new key from the existing ones, and writes it. */
  async #change(
    decide: (keys: SealedKey[]) => { key: SealedKey; revoke: boolean } | undefined,
  ): Promise<SealedKey[]> {
    const keys = await inTransaction(this.#sql, async (tx) => {
      await tx`SELECT pg_advisory_xact_lock(hashtext('tempera signing keys'))`;
      const before = (await tx<SigningKeyRow[]>`SELECT * FROM signing_keys`).map(keyOf);
      const made = decide(before);
      if (!made) return before;
      const { keyId, publicKey, sealed, createdAtMs, signsFromMs } = made.key;
      const createdAt = new Date(createdAtMs);
      if (made.revoke) await tx`UPDATE signing_keys SET revoked_at = ${createdAt} WHERE revoked_at IS NULL`;
      await tx`
        INSERT INTO signing_keys (key_id, public_key, sealed_private_key, created_at, signs_from)
        VALUES (${keyId}, ${publicKey}, ${sealed}, ${createdAt}, ${new Date(signsFromMs)})`;
      return (await tx<SigningKeyRow[]>`SELECT * FROM signing_keys`).map(keyOf);
    });
    this.#cached = { keys, atMs: this.#clock.nowMs() };
    return keys;
  }

  async #open(key: SealedKey): Promise<KeyObject> {
    const opened = this.#opened.get(key.keyId);
    if (opened) return opened;
    const privateKey = createPrivateKey({
      key: unseal(await this.#secret(), key.keyId, key.sealed),
      format: "der",
      type: "pkcs8",
    });
    this.#opened.set(key.keyId, privateKey);
    return privateKey;
  }
}
