import { randomBytes, randomUUID } from "node:crypto";
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { Key } from "../../../../core/owners/key.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { cursorOf, PAGE_FIELDS, PAGE_QUERY, pageAfter, paged } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { TIME_QUERY } from "../../http/time.ts";

const KEY = z
  .object({
    key_id: z.string(),
    alias: z.string(),
    scope: z.enum(["API", "ADMIN"]),
    owner: z.string(),
    created_at: z.string(),
    expires_at: z.string().nullable().openapi({ description: "The key is refused from this time on." }),
    last_used_at: z.string().nullable().openapi({ description: "Accurate to one minute." }),
    revoked_at: z.string().nullable(),
  })
  .openapi("Key");

/** A key without its secret, as the API shows it. */
export type KeyView = z.output<typeof KEY>;

const NEW_KEY = z.strictObject({
  alias: z.string().regex(/^[\x20-\x7e]{1,100}$/, "Input should be 1 to 100 printable ASCII characters"),
  scope: z.enum(["API", "ADMIN"]).default("API"),
  owner: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, "Input should be 1 to 64 letters, digits, dots, dashes or underscores")
    .optional()
    .openapi({
      description: "Keys of one owner see each other's requests. Default: a new owner with this key alone.",
    }),
  expires_at: TIME_QUERY.optional().openapi({
    description: "The key is refused from this time on. Default: it never expires.",
  }),
});

const iso = (ms: number): string => new Date(ms).toISOString();

const keyBody = ({
  keyId,
  alias,
  scope,
  ownerId,
  createdAtMs,
  revokedAtMs,
  expiresAtMs,
  lastUsedAtMs,
}: Key): KeyView => ({
  key_id: keyId,
  alias,
  scope,
  owner: ownerId,
  created_at: iso(createdAtMs),
  expires_at: expiresAtMs === undefined ? null : iso(expiresAtMs),
  last_used_at: lastUsedAtMs === undefined ? null : iso(lastUsedAtMs),
  revoked_at: revokedAtMs === undefined ? null : iso(revokedAtMs),
});

type Dependencies = Pick<ApiDependencies, "keys" | "keyHashes" | "clock">;

/** Adds the routes of API keys, with which callers authenticate (contract §10). */
export function addKeyRoutes(addRoute: AddRoute, api: Dependencies): void {
  addListRoute(addRoute, api);
  addCreateRoute(addRoute, api);
  addRevokeRoute(addRoute, api);
}

function addListRoute(addRoute: AddRoute, { keys }: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: "/v1/keys",
      summary: "Lists the keys, newest first, without their secrets.",
      scope: "ADMIN",
      query: PAGE_QUERY,
      response: z.object({ keys: z.array(KEY), ...PAGE_FIELDS }),
    },
    async ({ query: { limit, cursor } }) => {
      const found = await keys.list({ ...pageAfter({ cursor }), limit: limit + 1 });
      const { items, ...page } = paged(found, limit, ({ createdAtMs, keyId }) =>
        cursorOf(createdAtMs, keyId),
      );
      return { keys: items.map(keyBody), ...page };
    },
  );
}

function addCreateRoute(addRoute: AddRoute, { keys, keyHashes, clock }: Dependencies): void {
  addRoute(
    {
      method: "post",
      path: "/v1/keys",
      summary: "Creates a key. Its secret is shown in this response only.",
      scope: "ADMIN",
      body: NEW_KEY,
      audit: "keys.create",
      status: 201,
      response: KEY.extend({ key_secret: z.string(), key: z.string() }),
    },
    async ({ body: { alias, scope, owner, expires_at: expiresAtMs }, change }) => {
      const keyId = randomUUID();
      const secret = randomBytes(32).toString("hex");
      const createdAtMs = clock.nowMs();
      if (expiresAtMs !== undefined && expiresAtMs <= createdAtMs) throw notInTheFuture();
      const expiry = expiresAtMs !== undefined && { expiresAtMs };
      const key: Key = {
        keyId,
        ownerId: owner ?? keyId,
        alias,
        scope,
        createdAtMs,
        ...expiry,
        ...keyHashes.digest(secret),
      };
      return change({ subject: key.keyId }, async () => {
        await keys.insert(key);
        return {
          after: keyBody(key),
          result: { ...keyBody(key), key_secret: secret, key: `${key.keyId}:${secret}` },
        };
      });
    },
  );
}

function notInTheFuture(): TemperaError {
  const msg = "Input should be in the future";
  return new TemperaError("input_invalid", `expires_at: ${msg}`, {
    faults: [{ loc: ["body", "expires_at"], msg, type: "value_error" }],
  });
}

function addRevokeRoute(addRoute: AddRoute, { keys, clock }: Dependencies): void {
  addRoute(
    {
      method: "delete",
      path: "/v1/keys/{key_id}",
      summary: "Revokes a key. Gateways refuse it within two seconds.",
      scope: "ADMIN",
      params: z.object({ key_id: z.string() }),
      audit: "keys.revoke",
      status: 204,
      errors: ["key_not_found"],
    },
    async ({ params, change }) => {
      const keyId = params.key_id.toLowerCase();
      const key = /^[0-9a-f-]{36}$/.test(keyId) ? await keys.find(keyId) : undefined;
      if (!key || key.revokedAtMs !== undefined) throw new TemperaError("key_not_found");
      return change({ subject: keyId, before: keyBody(key) }, async () => {
        const revokedAtMs = clock.nowMs();
        if (!(await keys.revoke(keyId, revokedAtMs))) throw new TemperaError("key_not_found");
        return { after: keyBody({ ...key, revokedAtMs }), result: undefined };
      });
    },
  );
}
