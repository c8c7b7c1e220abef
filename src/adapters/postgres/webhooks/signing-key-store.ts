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
import { isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { Clock } from "../../../core/operations/clock.ts";
import type { SecretStore } from "../../../core/operations/secret-store.ts";
import type { SigningKeys } from "../../../core/webhooks/signing-key-store.ts";
import {
  nextSigner,
  PUBLISHED_MS,
  publishedAt,
  type SigningKey,
  signerAt,
} from "../../../core/webhooks/signing-key.ts";
import { answer, type Sql } from "../connection.ts";

interface SigningKeyRow {
  key_id: string;
  public_key: string;
  sealed_private_key: Buffer;
  created_at: Date;
  signs_from: Date;
  revoked_at: Date | null;
}

/** A key whose private half is still sealed. */
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
 * AES-256-GCM: nonce, tag, ciphertext. The key's id is authenticated with it, so that rows cannot be
 * exchanged.
 */
function seal(secret: Uint8Array, keyId: string, plain: Buffer): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", secret, iv).setAAD(Buffer.from(keyId));
  const sealed = Buffer.concat([cipher.update(plain), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

function unseal(secret: Uint8Array, keyId: string, sealed: Buffer): Buffer {
  const decipher = createDecipheriv("aes-256-gcm", secret, sealed.subarray(0, IV_BYTES)).setAAD(
    Buffer.from(keyId),
  );
  decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
}

/** A new pair. Its id is the thumbprint of its public half (RFC 7638). */
function newKey(secret: Uint8Array): Pick<SealedKey, "keyId" | "publicKey" | "sealed"> {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const x = publicKey.export({ format: "jwk" }).x as string;
  const keyId = createHash("sha256")
    .update(JSON.stringify({ crv: "Ed25519", kty: "OKP", x }))
    .digest("base64url");
  return {
    keyId,
    publicKey: x,
    sealed: seal(secret, keyId, privateKey.export({ format: "der", type: "pkcs8" })),
  };
}

/**
 * The signing keys, in Postgres. They are remembered for `LIMITS.signingKeysCacheMs`, and longer while it is
 * away.
 */
export function createSigningKeyStore(
  sql: Sql,
  { secrets, clock }: { secrets: SecretStore; clock: Clock },
): SigningKeys {
  let remembered: { keys: SealedKey[]; atMs: number } | undefined;
  let reading: Promise<SealedKey[]> | undefined;
  const opened = new Map<string, KeyObject>();

  /** What `decide` wants changed is decided and written by one process at a time. */
  const change = async (
    decide: (keys: SealedKey[]) => { key: SealedKey; revoke: boolean } | undefined,
  ): Promise<SealedKey[]> => {
    const keys = await answer(
      sql,
      sql.begin(async (tx) => {
        await tx`SELECT pg_advisory_xact_lock(hashtext('tempera signing keys'))`;
        const before = (await tx<SigningKeyRow[]>`SELECT * FROM signing_keys`).map(keyOf);
        const made = decide(before);
        if (!made) return before;
        const { keyId, publicKey, sealed, createdAtMs, signsFromMs } = made.key;
        const createdAt = new Date(createdAtMs);
        if (made.revoke) await tx`UPDATE signing_keys SET revoked_at = ${createdAt} WHERE revoked_at IS NULL`;
        await tx`INSERT INTO signing_keys (key_id, public_key, sealed_private_key, created_at, signs_from)
                 VALUES (${keyId}, ${publicKey}, ${sealed}, ${createdAt}, ${new Date(signsFromMs)})`;
        return (await tx<SigningKeyRow[]>`SELECT * FROM signing_keys`).map(keyOf);
      }),
    );
    remembered = { keys, atMs: clock.nowMs() };
    return keys;
  };

  const read = async (): Promise<SealedKey[]> => {
    const keys = (await answer(sql, sql<SigningKeyRow[]>`SELECT * FROM signing_keys`)).map(keyOf);
    if (!signerAt(keys, clock.nowMs())) {
      const secret = await secrets.secret("signing-keys");
      return change((before) => {
        const now = clock.nowMs();
        if (signerAt(before, now)) return undefined;
        return { key: { ...newKey(secret), createdAtMs: now, signsFromMs: now }, revoke: false };
      });
    }
    remembered = { keys, atMs: clock.nowMs() };
    return keys;
  };

  const current = async (): Promise<SealedKey[]> => {
    if (remembered && clock.nowMs() - remembered.atMs < LIMITS.signingKeysCacheMs) return remembered.keys;
    reading ??= read().finally(() => {
      reading = undefined;
    });
    try {
      return await reading;
    } catch (error) {
      if (!remembered || !isTemperaError(error)) throw error;
      return remembered.keys;
    }
  };

  const open = async (key: SealedKey): Promise<KeyObject> => {
    const known = opened.get(key.keyId);
    if (known) return known;
    const secret = await secrets.secret("signing-keys");
    const privateKey = createPrivateKey({
      key: unseal(secret, key.keyId, key.sealed),
      format: "der",
      type: "pkcs8",
    });
    opened.set(key.keyId, privateKey);
    return privateKey;
  };

  return {
    async sign(message) {
      const key = signerAt(await current(), clock.nowMs());
      if (!key)
        throw new TemperaError(
          "store_unavailable",
          "There is no signing key, and none can be made right now.",
        );
      return { keyId: key.keyId, signature: sign(null, Buffer.from(message), await open(key)) };
    },

    published: async () => publishedAt(await current(), clock.nowMs()).map(publicPart),

    async list() {
      const rows = await answer(
        sql,
        sql<SigningKeyRow[]>`SELECT * FROM signing_keys ORDER BY created_at DESC, key_id`,
      );
      return rows.map((row) => publicPart(keyOf(row)));
    },

    async rotate({ now = false, revoke = false }) {
      const secret = await secrets.secret("signing-keys");
      let made: SealedKey | undefined;
      await change((before) => {
        const atMs = clock.nowMs();
        const waiting = nextSigner(before, atMs);
        const atOnce = now || revoke || !signerAt(before, atMs);
        if (waiting && !atOnce) {
          throw new TemperaError(
            "rotation_pending",
            `Key ${waiting.keyId} is published already and signs from ${new Date(waiting.signsFromMs).toISOString()}; wait for it, or rotate at once.`,
          );
        }
        // A key that waits goes on waiting: it takes over when its time comes, as receivers were told.
        made = { ...newKey(secret), createdAtMs: atMs, signsFromMs: atOnce ? atMs : atMs + PUBLISHED_MS };
        return { key: made, revoke };
      });
      return publicPart(made as unknown as SealedKey);
    },
  };
}
