import { randomBytes, randomUUID } from "node:crypto";
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { Key } from "../../../../core/owners/key.ts";
import {
  ADDRESS_RANGE,
  ENDPOINT_PATTERN,
  ENDPOINT_PATTERN_CHARS_MAX,
  type KeyPermissions,
} from "../../../../core/owners/key-permissions.ts";
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
    endpoints: z.array(z.string()).nullable().openapi({
      description: "The only endpoints that it may call; `fal-ai/wan/*` is all below `fal-ai/wan`.",
    }),
    addresses: z
      .array(z.string())
      .nullable()
      .openapi({ description: "The only addresses and ranges that it may be used from." }),
    read_only: z.boolean().openapi({ description: "It reads, and changes nothing." }),
    expires_at: z.string().nullable().openapi({ description: "The key is refused from this time on." }),
    last_used_at: z.string().nullable().openapi({ description: "Accurate to one minute." }),
    revoked_at: z.string().nullable(),
  })
  .openapi("Key");

/** A key without its secret, as the API shows it. */
export type KeyView = z.output<typeof KEY>;

const ALIAS = z.string().regex(/^[\x20-\x7e]{1,100}$/, "Input should be 1 to 100 printable ASCII characters");
const ENDPOINTS = z
  .array(
    z
      .string()
      .max(ENDPOINT_PATTERN_CHARS_MAX)
      .regex(ENDPOINT_PATTERN, "Input should be an endpoint, or one that ends in /*: fal-ai/wan/*"),
  )
  .min(1)
  .max(LIMITS.keyPatternsMax)
  .openapi({ description: "The only endpoints that it may call; `fal-ai/wan/*` is all below `fal-ai/wan`." });
const ADDRESSES = z
  .array(z.string().regex(ADDRESS_RANGE, "Input should be an address, or a range like 10.0.0.0/8"))
  .min(1)
  .max(LIMITS.keyPatternsMax)
  .openapi({ description: "The only addresses and ranges that it may be used from." });

const NEW_KEY = z.strictObject({
  alias: ALIAS,
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
  endpoints: ENDPOINTS.optional(),
  addresses: ADDRESSES.optional(),
  read_only: z.boolean().default(false).openapi({ description: "It reads, and changes nothing." }),
});

const KEY_CHANGE = z.strictObject({
  alias: ALIAS.optional(),
  expires_at: TIME_QUERY.nullable().optional().openapi({ description: "`null`: it never expires." }),
  endpoints: ENDPOINTS.nullable().optional().openapi({ description: "`null`: all endpoints." }),
  addresses: ADDRESSES.nullable().optional().openapi({ description: "`null`: all addresses." }),
  read_only: z.boolean().optional(),
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
  permissions = {},
}: Key): KeyView => ({
  key_id: keyId,
  alias,
  scope,
  owner: ownerId,
  endpoints: permissions.endpoints ? [...permissions.endpoints] : null,
  addresses: permissions.addresses ? [...permissions.addresses] : null,
  read_only: permissions.readOnly === true,
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
  addChangeRoute(addRoute, api);
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
    async ({ body: { alias, scope, owner, expires_at: expiresAtMs, ...narrowed }, change }) => {
      const keyId = randomUUID();
      const secret = randomBytes(32).toString("hex");
      const createdAtMs = clock.nowMs();
      if (expiresAtMs !== undefined && expiresAtMs <= createdAtMs) throw notInTheFuture();
      const expiry = expiresAtMs !== undefined && { expiresAtMs };
      const permissions = permissionsOf(narrowed);
      if (scope === "ADMIN" && permissions?.endpoints) throw adminHasNoEndpoints();
      const key: Key = {
        keyId,
        ownerId: owner ?? keyId,
        alias,
        scope,
        ...(permissions && { permissions }),
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

/** Returns the permissions of a new key; `undefined` when nothing narrows it. */
function permissionsOf({
  endpoints,
  addresses,
  read_only,
}: Pick<z.output<typeof NEW_KEY>, "endpoints" | "addresses" | "read_only">): KeyPermissions | undefined {
  if (!endpoints && !addresses && !read_only) return undefined;
  return {
    ...(endpoints && { endpoints }),
    ...(addresses && { addresses }),
    ...(read_only && { readOnly: true }),
  };
}

/** Returns the refusal to limit a key of scope ADMIN to endpoints: it could make itself another key. */
function adminHasNoEndpoints(): TemperaError {
  const msg = "Input should be left out for a key of scope ADMIN, which could create a key without limits";
  return new TemperaError("input_invalid", `endpoints: ${msg}`, {
    faults: [{ loc: ["body", "endpoints"], msg, type: "value_error" }],
  });
}

const KEY_PATH = "/v1/keys/{key_id}";
const KEY_PARAMS = z.object({ key_id: z.string() });

/** Finds a key that was not revoked. Rejects with `key_not_found`. */
async function existingKey({ keys }: Pick<Dependencies, "keys">, id: string): Promise<Key> {
  const keyId = id.toLowerCase();
  const key = /^[0-9a-f-]{36}$/.test(keyId) ? await keys.find(keyId) : undefined;
  if (!key || key.revokedAtMs !== undefined) throw new TemperaError("key_not_found");
  return key;
}

function addChangeRoute(addRoute: AddRoute, { keys, clock }: Dependencies): void {
  addRoute(
    {
      method: "patch",
      path: KEY_PATH,
      summary: "Changes the named fields of a key. Gateways apply it within two seconds.",
      scope: "ADMIN",
      params: KEY_PARAMS,
      body: KEY_CHANGE,
      audit: "keys.change",
      response: KEY,
      errors: ["key_not_found"],
    },
    async ({ params, body, change }) => {
      const key = await existingKey({ keys }, params.key_id);
      const { alias, expires_at: expiresAtMs, endpoints, addresses, read_only: readOnly } = body;
      if (typeof expiresAtMs === "number" && expiresAtMs <= clock.nowMs()) throw notInTheFuture();
      if (key.scope === "ADMIN" && endpoints) throw adminHasNoEndpoints();
      return change({ subject: key.keyId, before: keyBody(key) }, async () => {
        const changed = await keys.change(key.keyId, {
          ...(alias !== undefined && { alias }),
          ...(expiresAtMs !== undefined && { expiresAtMs }),
          ...(endpoints !== undefined && { endpoints }),
          ...(addresses !== undefined && { addresses }),
          ...(readOnly !== undefined && { readOnly }),
        });
        if (!changed) throw new TemperaError("key_not_found");
        return { after: keyBody(changed), result: keyBody(changed) };
      });
    },
  );
}

function addRevokeRoute(addRoute: AddRoute, { keys, clock }: Dependencies): void {
  addRoute(
    {
      method: "delete",
      path: KEY_PATH,
      summary: "Revokes a key. Gateways refuse it within two seconds.",
      scope: "ADMIN",
      params: KEY_PARAMS,
      audit: "keys.revoke",
      status: 204,
      errors: ["key_not_found"],
    },
    async ({ params, change }) => {
      const key = await existingKey({ keys }, params.key_id);
      const { keyId } = key;
      return change({ subject: keyId, before: keyBody(key) }, async () => {
        const revokedAtMs = clock.nowMs();
        if (!(await keys.revoke(keyId, revokedAtMs))) throw new TemperaError("key_not_found");
        return { after: keyBody({ ...key, revokedAtMs }), result: undefined };
      });
    },
  );
}
