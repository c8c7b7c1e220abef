import { readFileSync } from "node:fs";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { describe, expect, it } from "vitest";
import type { AuditRecord } from "../core/audit.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { type AdminDependencies, adminOpenapi, createAdmin } from "./admin.ts";
import { createKeyHashes } from "./key-hashes.ts";

const COMMITTED = readFileSync(new URL("../../schemas/admin/openapi.json", import.meta.url), "utf8");

interface Operation {
  "x-tempera-scope": string;
  "x-tempera-audit"?: string;
  parameters?: { name: string; in: string }[];
}
const document = JSON.parse(COMMITTED) as { paths: Record<string, Record<string, Operation>> };
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
);

/** An admin service on which every key is of `scope` and every store is missing. */
function adminFor(scope: "API" | "ADMIN" | undefined, over: Partial<AdminDependencies> = {}): OpenAPIHono {
  const note = (): void => {};
  return createAdmin({
    keyRing: {
      authenticate: async (authorization: string | undefined) => {
        if (authorization === undefined) throw new TemperaError("key_missing");
        if (!scope) throw new TemperaError("key_unknown");
        return { ownerId: "owner", keyId: "key", scope };
      },
    },
    keyHashes: createKeyHashes(["a pepper"]),
    clock: { nowMs: () => 1_000_000 },
    log: { debug: note, info: note, warn: note, error: note },
    webhookSources: [],
    idempotentWrite: (_c: unknown, _asked: unknown, write: () => Promise<Response>) => write(),
    ...over,
  } as unknown as AdminDependencies) as unknown as OpenAPIHono;
}

const filled = (path: string): string => path.replace(/\{\w+\}/g, "x");

describe("the OpenAPI document", () => {
  it("is what the code says (npm run schemas:openapi)", () => expect(COMMITTED).toBe(adminOpenapi()));

  it("has every route, and no other", () => {
    const routed = adminFor("ADMIN")
      .routes.filter(({ method, path }) => method !== "ALL" && path !== "/health/live" && path !== "/v1/openapi.json")
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{\.\+\})?/g, "{$1}")}`);
    expect(routed.sort()).toEqual(operations.map(({ method, path }) => `${method} ${path}`).sort());
    expect(new Set(routed).size).toBe(routed.length);
  });

  it("says how each change is audited", () => {
    for (const { method, path, operation } of operations) {
      const reads = method === "GET" || path.startsWith("/v1/openapi");
      if (reads) expect(operation["x-tempera-audit"], path).toBeUndefined();
    }
    expect(operations.filter(({ operation }) => operation["x-tempera-audit"]).length).toBeGreaterThan(4);
  });
});

describe("scopes", () => {
  const closed = operations.filter(({ operation }) => operation["x-tempera-scope"] !== "none");

  it.each(closed)("$method $path refuses who has no key, or one that is unknown", async ({ method, path, operation }) => {
    const none = await adminFor("ADMIN").request(filled(path), { method });
    if (operation["x-tempera-scope"] !== "optional") expect(none.status).toBe(401);
    const unknown = await adminFor(undefined).request(filled(path), { method, headers: { authorization: "Key x:y" } });
    expect(unknown.status).toBe(401);
    expect(await unknown.json()).toMatchObject({
      error: { type: "authorization_error", code: "key_unknown", request_id: expect.any(String) },
    });
  });

  it.each(closed.filter(({ operation }) => operation["x-tempera-scope"] === "ADMIN"))(
    "$method $path refuses a key with every scope but ADMIN before it reads anything",
    async ({ method, path }) => {
      const response = await adminFor("API").request(filled(path), { method, headers: { authorization: "Key x:y" } });
      expect(response.status).toBe(403);
      expect(await response.json()).toMatchObject({ error: { type: "authorization_error", code: "scope_missing" } });
    },
  );
});

describe("an audit record", () => {
  const record = () => {
    const records = new Map<string, Partial<AuditRecord>>();
    const audit = {
      begin: async (begun: Partial<AuditRecord> & { auditId: string }) => void records.set(begun.auditId, { ...begun, state: "begun" }),
      settle: async (id: string, how: object) =>
        void records.set(id, { ...records.get(id), ...how, state: "errorCode" in how ? "failed" : "made" }),
    };
    return { records, audit: audit as unknown as AdminDependencies["audit"] };
  };
  const create = (app: OpenAPIHono, body: object) =>
    app.request("/v1/keys", { method: "POST", headers: { authorization: "Key x:y" }, body: JSON.stringify(body) });

  it("is begun before the change, and says who, what and what became of it, without the secret", async () => {
    const { records, audit } = record();
    const insert = async (): Promise<void> => expect([...records.values()].map(({ state }) => state)).toEqual(["begun"]);
    const response = await create(adminFor("ADMIN", { audit, keys: { insert } as never }), { alias: "mine", owner: "acme" });
    expect(response.status).toBe(201);
    const { key_id, key_secret } = (await response.json()) as { key_id: string; key_secret: string };
    expect([...records.values()]).toEqual([
      {
        auditId: expect.any(String),
        atMs: 1_000_000,
        keyId: "key",
        ownerId: "owner",
        action: "keys.create",
        subject: key_id,
        requestId: response.headers.get("x-fal-request-id"),
        state: "made",
        after: expect.objectContaining({ key_id, alias: "mine", owner: "acme", scope: "API" }),
      },
    ]);
    expect(JSON.stringify([...records.values()])).not.toContain(key_secret);
  });

  it("says how a change failed", async () => {
    const { records, audit } = record();
    const insert = async (): Promise<void> => {
      throw new TemperaError("store_unavailable", "PostgreSQL at db:5432 cannot be used");
    };
    const response = await create(adminFor("ADMIN", { audit, keys: { insert } as never }), { alias: "mine" });
    expect(response.status).toBe(503);
    expect(response.headers.get("retry-after")).toBe("2");
    expect(JSON.stringify(await response.json())).not.toContain("db:5432");
    expect([...records.values()]).toMatchObject([{ state: "failed", errorCode: "store_unavailable" }]);
  });

  it("that cannot be begun keeps the change from being made", async () => {
    let inserted = 0;
    const audit = { begin: () => Promise.reject(new TemperaError("store_unavailable")) } as unknown as AdminDependencies["audit"];
    const response = await create(adminFor("ADMIN", { audit, keys: { insert: async () => void inserted++ } as never }), { alias: "mine" });
    expect({ status: response.status, inserted }).toEqual({ status: 503, inserted: 0 });
  });

  it("is not made for what does not fit", async () => {
    const { records, audit } = record();
    const response = await create(adminFor("ADMIN", { audit }), { alias: "", scope: "ROOT", ownr: "acme" });
    expect(response.status).toBe(422);
    const { error } = (await response.json()) as { error: { type: string; message: string; faults: object[] } };
    expect(error.type).toBe("validation_error");
    expect(error.message).toBe(
      `alias: Input should be 1 to 100 printable ASCII characters; scope: Input should be 'API' or 'ADMIN'; Unknown field "ownr" (did you mean "owner"?)`,
    );
    expect(error.faults).toHaveLength(3);
    expect(records.size).toBe(0);
  });
});

describe("refusals", () => {
  it("405 names the methods of the path; 404 does not echo more than 200 characters of it", async () => {
    const wrong = await adminFor("ADMIN").request("/v1/keys", { method: "PUT" });
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get("allow")).toBe("GET, HEAD, POST");
    const unknown = await adminFor("ADMIN").request(`/v1/${"n".repeat(5_000)}`);
    expect(unknown.status).toBe(404);
    expect((await unknown.text()).length).toBeLessThan(500);
  });

  it("an unexpected error tells nothing of itself", async () => {
    const list = async (): Promise<never> => {
      throw new Error("postgres://user:secret@db");
    };
    const response = await adminFor("ADMIN", { keys: { list } as never }).request("/v1/keys", { headers: { authorization: "Key x:y" } });
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ error: { type: "server_error", message: "Internal Server Error" } });
  });
});
