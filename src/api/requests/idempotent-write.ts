import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import type { Context } from "hono";
import { sleep } from "../../core/concurrency/sleep.ts";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ClaimName } from "../../core/requests/idempotency-store.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { requestIdOf, setRequestId } from "../http/request-id.ts";
import { fingerprintOf, idempotencyKeyOf, idempotencyKeyReused, REPLAYED_HEADER } from "./idempotency-key.ts";

/** Makes a change once for each idempotency key of an owner; later calls with the key get the same answer. */
export type IdempotentWrite = (
  c: Context,
  call: { ownerId: string; input: Json },
  write: () => Promise<Response>,
) => Promise<Response>;

/** Milliseconds between two looks for the answer of a previous call that is still at work. */
const POLL_MS = 100;

/** The headers of an answer that are stored with it. */
const STORED_HEADERS = ["content-type", "etag", "location"];

interface StoredAnswer {
  status: number;
  headers: Record<string, string>;
  body: string | null;
}

/** A write, and the claim of the idempotency key that names it. */
interface ClaimedWrite {
  name: ClaimName;
  requestId: string;
  write: () => Promise<Response>;
}

/**
 * Makes the writes of calls with idempotency keys. Answers are stored encrypted, since some hold a secret
 * that is shown once. A refused write leaves its key free. If the process of a write dies, the next call
 * makes the write again after `LIMITS.writeClaimMs`; whether it had been made, nobody knows then.
 *
 * A call without a key simply writes. Rejects with `idempotency_key_reused`, and with `store_unavailable`
 * when a previous call with this key is still at work after `LIMITS.writeAnswerMs`; never with 409.
 *
 * @param secret 32 bytes, the same for all processes
 */
export function createIdempotentWrite(
  { claims, log }: Pick<ApiDependencies, "claims" | "log">,
  secret: Uint8Array,
): IdempotentWrite {
  return async (c, { ownerId, input }, write) => {
    const key = idempotencyKeyOf(c);
    if (key === undefined) return write();
    const name: ClaimName = { ownerId, key: `write:${key}` };
    const requestId = requestIdOf(c);
    const fingerprint = fingerprintOf(`${c.req.method} ${new URL(c.req.url).pathname}`, input);
    const deadlineMs = performance.now() + LIMITS.writeAnswerMs;
    for (;;) {
      const seconds = LIMITS.idempotencySeconds;
      const claim = await claims.claim(name, { requestId, fingerprint, seconds });
      if (claim.isOwn) return make({ name, requestId, write });
      if (claim.fingerprint !== fingerprint) throw idempotencyKeyReused(key, claim.requestId);
      if (claim.answer) {
        setRequestId(c, claim.requestId);
        return replay(name, claim.answer);
      }
      const takenOver =
        claim.ageMs > LIMITS.writeClaimMs &&
        (await claims.takeOver(name, claim.requestId, requestId, LIMITS.writeClaimMs));
      if (takenOver) return make({ name, requestId, write });
      if (performance.now() > deadlineMs)
        throw new TemperaError(
          "store_unavailable",
          "An earlier call with this idempotency key is still at work. Try again.",
        );
      await sleep(POLL_MS);
    }
  };

  async function make({ name, requestId, write }: ClaimedWrite): Promise<Response> {
    let answer: Response;
    try {
      answer = await write();
    } catch (error) {
      await claims.release(name, requestId).catch(() => {});
      throw error;
    }
    const stored = writeJson(await storable(answer));
    await claims
      .answer(name, requestId, seal(secret, additionalData(name), stored))
      .catch((error) =>
        log.warn(
          { requestId, err: errorInfo(error) },
          "the answer of a write was not stored for its idempotency key",
        ),
      );
    return answer;
  }

  function replay(name: ClaimName, sealed: Buffer): Response {
    const stored = parseJson<StoredAnswer>(unseal(secret, additionalData(name), sealed));
    const { status, headers, body } = stored;
    return new Response(body, { status, headers: { ...headers, [REPLAYED_HEADER]: "true" } });
  }
}

async function storable(answer: Response): Promise<StoredAnswer> {
  const headers = Object.fromEntries(
    STORED_HEADERS.flatMap((header) => [[header, answer.headers.get(header)]]).filter(([, value]) => value),
  );
  const body = answer.body === null ? null : await answer.clone().text();
  return { status: answer.status, headers, body };
}

/** Binds an encrypted answer to its owner and key, so that rows cannot be exchanged. */
function additionalData({ ownerId, key }: ClaimName): Buffer {
  return Buffer.from(writeJson([ownerId, key]));
}

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts by AES-256-GCM. The result is nonce, tag and ciphertext in this order. */
function seal(secret: Uint8Array, additional: Buffer, plain: string): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", secret, iv).setAAD(additional);
  const sealed = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

function unseal(secret: Uint8Array, additional: Buffer, sealed: Buffer): string {
  const decipher = createDecipheriv("aes-256-gcm", secret, sealed.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  }).setAAD(additional);
  decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString(
    "utf8",
  );
}
