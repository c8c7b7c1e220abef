import type { Context } from "hono";
import { publishedAt, type SigningKey, signerAt } from "../../core/signing-key.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { readJsonBody } from "../read-body.ts";

const keyBody = (key: SigningKey, all: readonly SigningKey[], nowMs: number) => ({
  key_id: key.keyId,
  public_key: key.publicKey,
  state: stateOf(key, all, nowMs),
  created_at: new Date(key.createdAtMs).toISOString(),
  signs_from: new Date(key.signsFromMs).toISOString(),
  revoked_at: key.revokedAtMs === undefined ? null : new Date(key.revokedAtMs).toISOString(),
});

/** `next`: published, does not sign yet. `retired`: signs no more. Both, and the one that signs, verify. */
function stateOf(key: SigningKey, all: readonly SigningKey[], nowMs: number): "next" | "signing" | "retired" | "forgotten" | "revoked" {
  if (key.revokedAtMs !== undefined) return "revoked";
  if (key.signsFromMs > nowMs) return "next";
  if (signerAt(all, nowMs)?.keyId === key.keyId) return "signing";
  return publishedAt(all, nowMs).some(({ keyId }) => keyId === key.keyId) ? "retired" : "forgotten";
}

/** `GET /v1/signing-keys` → every key that webhooks were ever signed with, newest first. */
export const createSigningKeysList =
  ({ signingKeys, clock }: Pick<ApiDependencies, "signingKeys" | "clock">) =>
  async (c: Context): Promise<Response> => {
    const all = await signingKeys.list();
    return answerJson(c, { signing_keys: all.map((key) => keyBody(key, all, clock.nowMs())) });
  };

/**
 * `POST /v1/signing-keys/rotate {now?, revoke?}` → 201 with the new key. It signs 25 hours from now, `now` at once; `revoke` also takes
 * the ones before it out of the JWKS. 409 `rotation_pending`.
 */
export const createSigningKeysRotate =
  ({ signingKeys, clock }: Pick<ApiDependencies, "signingKeys" | "clock">) =>
  async (c: Context): Promise<Response> => {
    const body = await readJsonBody(c, 64 * 1024);
    const { now, revoke } = typeof body === "object" && body !== null && !Array.isArray(body) ? body : {};
    const made = await signingKeys.rotate({ now: now === true, revoke: revoke === true });
    const all = await signingKeys.list();
    return answerJson(c, keyBody(made, all, clock.nowMs()), 201);
  };
