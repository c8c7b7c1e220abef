import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Context } from "hono";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ClaimName } from "../../core/requests/idempotency-store.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerAbout, requestIdOf } from "../http/request-id.ts";
import { fingerprintOf, idempotencyKeyOf, REPLAYED_HEADER, reusedKey } from "./idempotency-key.ts";

/**
 * Makes a change once for each idempotency key of an owner, and gives its answer again to later calls with
 * the same key.
 */
export type IdempotentWrite = (
  c: Context,
  asked: { ownerId: string; input: Json },
  write: () => Promise<Response>,
) => Promise<Response>;

/** How often it is looked whether the earlier call has its answer. */
const LOOK_MS = 100;

/** Headers of an answer that belong to it. */
const KEPT_HEADERS = ["content-type", "etag", "location"];

interface KeptAnswer {
  status: number;
  headers: Record<string, string>;
  body: string | null;
}

/**
 * The write of a call with an idempotency key. Answers are kept sealed, since some hold a secret that is
 * shown once. A write that was refused leaves its key free. One whose process died is made again by the next
 * call after `LIMITS.writeClaimMs`: whether it had been made, nobody knows then.
 *
 * Without a key, the write is simply made. Rejects with `idempotency_key_reused`, and with
 * `store_unavailable` while an earlier call with this key is still at work after `LIMITS.writeAnswerMs`;
 * never with 409.
 *
 * @param secret 32 bytes, the same for all processes
 */
export const createIdempotentWrite = (
  { claims, log }: Pick<ApiDependencies, "claims" | "log">,
  secret: Uint8Array,
): IdempotentWrite => {
  return async (c, { ownerId, input }, write) => {
    const key = idempotencyKeyOf(c);
    if (key === undefined) return write();
    const name: ClaimName = { ownerId, key: `write:${key}` };
    const mine = requestIdOf(c);
    const fingerprint = fingerprintOf(`${c.req.method} ${new URL(c.req.url).pathname}`, input);
    const deadlineMs = performance.now() + LIMITS.writeAnswerMs;
    for (;;) {
      const claim = await claims.claim(name, {
        requestId: mine,
        fingerprint,
        seconds: LIMITS.idempotencySeconds,
      });
      if (claim.mine) return make(name, mine, write);
      if (claim.fingerprint !== fingerprint) throw reusedKey(key, claim.requestId);
      if (claim.answer) {
        answerAbout(c, claim.requestId);
        return replay(name, claim.answer);
      }
      const given =
        claim.ageMs > LIMITS.writeClaimMs &&
        (await claims.takeOver(name, claim.requestId, mine, LIMITS.writeClaimMs));
      if (given) return make(name, mine, write);
      if (performance.now() > deadlineMs)
        throw new TemperaError(
          "store_unavailable",
          "An earlier call with this idempotency key is still at work. Try again.",
        );
      await sleep(LOOK_MS);
    }
  };

  async function make(name: ClaimName, requestId: string, write: () => Promise<Response>): Promise<Response> {
    let answer: Response;
    try {
      answer = await write();
    } catch (error) {
      await claims.release(name, requestId).catch(() => {});
      throw error;
    }
    const headers = Object.fromEntries(
      KEPT_HEADERS.flatMap((header) => [[header, answer.headers.get(header)]]).filter(([, value]) => value),
    );
    const body = answer.body === null ? null : await answer.clone().text();
    const kept: KeptAnswer = { status: answer.status, headers, body };
    await claims
      .answer(name, requestId, seal(secret, aad(name), JSON.stringify(kept)))
      .catch((error) =>
        log.warn(
          { requestId, err: errorInfo(error) },
          "the answer of a write was not kept for its idempotency key",
        ),
      );
    return answer;
  }

  function replay(name: ClaimName, sealed: Buffer): Response {
    const { status, headers, body } = JSON.parse(unseal(secret, aad(name), sealed)) as KeptAnswer;
    return new Response(body, { status, headers: { ...headers, [REPLAYED_HEADER]: "true" } });
  }
};

/** Whose answer it is goes into the seal, so that rows cannot be exchanged. */
const aad = ({ ownerId, key }: ClaimName): Buffer => Buffer.from(JSON.stringify([ownerId, key]));

const IV_BYTES = 12;
const TAG_BYTES = 16;

/** AES-256-GCM: nonce, tag, ciphertext. */
function seal(secret: Uint8Array, about: Buffer, plain: string): Buffer {
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", secret, iv).setAAD(about);
  const sealed = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

function unseal(secret: Uint8Array, about: Buffer, sealed: Buffer): string {
  const decipher = createDecipheriv("aes-256-gcm", secret, sealed.subarray(0, IV_BYTES)).setAAD(about);
  decipher.setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
  return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString(
    "utf8",
  );
}
