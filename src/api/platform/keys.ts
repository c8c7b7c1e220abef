import { createHash, randomBytes, randomUUID } from "node:crypto";
import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Key, Scope } from "../../core/key.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { readJsonBody } from "../read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../request-id.ts";

const iso = (ms: number): string => new Date(ms).toISOString();

const keyBody = ({ keyId, alias, scope, ownerId, createdAtMs, revokedAtMs }: Key) => ({
  key_id: keyId,
  alias,
  scope,
  owner: ownerId,
  created_at: iso(createdAtMs),
  revoked_at: revokedAtMs === undefined ? null : iso(revokedAtMs),
});

/** A new key and its secret, which is shown once and stored as its SHA-256 only. */
function newKey({ ownerId, ...fields }: Pick<Key, "alias" | "scope" | "createdAtMs"> & { ownerId?: string }): { key: Key; secret: string } {
  const secret = randomBytes(32).toString("hex");
  const keyId = randomUUID();
  return { key: { ...fields, keyId, ownerId: ownerId ?? keyId, secretSha256: createHash("sha256").update(secret).digest("hex") }, secret };
}

/**
 * `POST /v1/keys {alias, scope?, owner?}` → 201 with the secret, this once (contract §10). `scope` is `API` unless said
 * otherwise; Keys of one
 * `owner` see each other's requests; without one, the key is an owner of its own. 422 for a body that does not fit.
 */
export const createKeysCreate =
  ({ keys, clock }: Pick<ApiDependencies, "keys" | "clock">) =>
  async (c: Context): Promise<Response> => {
    const body = await readJsonBody(c, 64 * 1024);
    const { alias, scope = "API", owner } = typeof body === "object" && body !== null && !Array.isArray(body) ? body : {};
    const invalid = (field: string, msg: string): never => {
      throw new TemperaError("input_invalid", `${field}: ${msg}`, { faults: [{ loc: ["body", field], msg, type: "value_error" }] });
    };
    if (typeof alias !== "string" || !/^[\x20-\x7e]{1,100}$/.test(alias))
      return invalid("alias", "Input should be 1 to 100 printable ASCII characters");
    if (scope !== "API" && scope !== "ADMIN") return invalid("scope", "Input should be 'API' or 'ADMIN'");
    if (owner !== undefined && (typeof owner !== "string" || !/^[A-Za-z0-9._-]{1,64}$/.test(owner)))
      return invalid("owner", "Input should be 1 to 64 letters, digits, dots, dashes or underscores");
    const { key, secret } = newKey({
      ...(owner !== undefined && { ownerId: owner }),
      alias,
      scope: scope satisfies Scope,
      createdAtMs: clock.nowMs(),
    });
    await keys.insert(key);
    return answerJson(c, { ...keyBody(key), key_secret: secret, key: `${key.keyId}:${secret}` }, 201);
  };

/** `GET /v1/keys` → every key, newest first, without secrets. */
export const createKeysList =
  ({ keys }: Pick<ApiDependencies, "keys">) =>
  async (c: Context): Promise<Response> =>
    answerJson(c, { keys: (await keys.list()).map(keyBody), next_cursor: null, has_more: false });

/** `DELETE /v1/keys/{key_id}` → 204; gateways refuse the key within seconds. 404 when there is none, or it was revoked before. */
export const createKeysRevoke =
  ({ keys, clock }: Pick<ApiDependencies, "keys" | "clock">) =>
  async (c: Context): Promise<Response> => {
    const keyId = c.req.param("key_id") ?? "";
    const known = /^[0-9a-f-]{36}$/i.test(keyId) && (await keys.revoke(keyId.toLowerCase(), clock.nowMs()));
    if (!known) throw new TemperaError("key_not_found");
    return c.body(null, 204, { [REQUEST_ID_HEADER]: requestIdOf(c) });
  };
