import { readFileSync } from "node:fs";
import type { OpenAPIHono } from "@hono/zod-openapi";
import { describe, expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { AuditRecord } from "../../core/operations/audit.ts";
import { createAuthFailures } from "../auth/auth-failure-limiter.ts";
import { createKeyHashes } from "../auth/key-hashes.ts";
import { type AdminDependencies, adminOpenapi, createAdmin } from "./admin.ts";

const COMMITTED = readFileSync(new URL("../../../schemas/admin/openapi.json", import.meta.url), "utf8");

interface Operation {
  "x-tempera-scope": string;
  "x-tempera-audit"?: string;
  parameters?: { name: string; in: string }[];
}
const document = JSON.parse(COMMITTED) as { paths: Record<string, Record<string, Operation>> };
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
);

/** Creates an admin service without stores, on which every key has `scope`. */
function adminFor(scope: "API" | "ADMIN" | undefined, over: Partial<AdminDependencies> = {}): OpenAPIHono {
  const ignore = (): void => {};
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
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    webhookSources: [],
    crashesOfOwnerMax: 5,
    limits: { countCall: async () => {} },
    budgets: wideBudgets(),
    idempotentWrite: (_c: unknown, _write: unknown, write: () => Promise<Response>) => write(),
    ...over,
  } as unknown as AdminDependencies) as unknown as OpenAPIHono;
}

const filled = (path: string): string => path.replace(/\{\w+\}/g, "x");

describe("the OpenAPI document", () => {
  it("equals the committed file (npm run schemas:openapi)", () => expect(COMMITTED).toBe(adminOpenapi()));

  it("has every route and no other", () => {
    const routed = adminFor("ADMIN")
      .routes.filter(
        ({ method, path }) => method !== "ALL" && !path.startsWith("/health") && path !== "/v1/openapi.json",
      )
      .map(({ method, path }) => `${method} ${path.replace(/:(\w+)(\{[^/]+\})?/g, "{$1}")}`);
    expect(routed.sort()).toEqual(operations.map(({ method, path }) => `${method} ${path}`).sort());
    expect(new Set(routed).size).toBe(routed.length);
  });

  it("states the audit action of every change", () => {
    for (const { method, path, operation } of operations) {
      const reads = method === "GET" || path.startsWith("/v1/openapi");
      if (reads) expect(operation["x-tempera-audit"], path).toBeUndefined();
    }
    expect(operations.filter(({ operation }) => operation["x-tempera-audit"]).length).toBeGreaterThan(4);
  });
});

describe("scopes", () => {
  const closed = operations.filter(({ operation }) => operation["x-tempera-scope"] !== "none");

  it.each(closed)(
    "$method $path refuses a request without a key or with an unknown one",
    async ({ method, path, operation }) => {
      const none = await adminFor("ADMIN").request(filled(path), { method });
      if (operation["x-tempera-scope"] !== "optional") expect(none.status).toBe(401);
      const unknown = await adminFor(undefined).request(filled(path), {
        method,
        headers: { authorization: "Key x:y" },
      });
      expect(unknown.status).toBe(401);
      expect(await unknown.json()).toMatchObject({
        error: { type: "authorization_error", code: "key_unknown", request_id: expect.any(String) },
      });
    },
  );

  it.each(closed.filter(({ operation }) => operation["x-tempera-scope"] === "ADMIN"))(
    "$method $path refuses a key of scope API before it reads anything",
    async ({ method, path }) => {
      const response = await adminFor("API").request(filled(path), {
        method,
        headers: { authorization: "Key x:y" },
      });
      expect(response.status).toBe(403);
      expect(await response.json()).toMatchObject({
        error: { type: "authorization_error", code: "scope_missing" },
      });
    },
  );
});

describe("an audit record", () => {
  const record = () => {
    const records = new Map<string, Partial<AuditRecord>>();
    const audit = {
      begin: async (begun: Partial<AuditRecord> & { auditId: string }) =>
        void records.set(begun.auditId, { ...begun, state: "begun" }),
      settle: async (id: string, ending: object) =>
        void records.set(id, {
          ...records.get(id),
          ...ending,
          state: "errorCode" in ending ? "failed" : "made",
        }),
    };
    return { records, audit: audit as unknown as AdminDependencies["audit"] };
  };
  const create = (app: OpenAPIHono, body: object) =>
    app.request("/v1/keys", {
      method: "POST",
      headers: { authorization: "Key x:y" },
      body: JSON.stringify(body),
    });

  it("is begun before the change; holds the caller, the action and the result, but no secret", async () => {
    const { records, audit } = record();
    const insert = async (): Promise<void> =>
      expect([...records.values()].map(({ state }) => state)).toEqual(["begun"]);
    const response = await create(adminFor("ADMIN", { audit, keys: { insert } as never }), {
      alias: "mine",
      owner: "acme",
    });
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

  it("holds the error code of a failed change", async () => {
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

  it("prevents the change when it cannot be begun", async () => {
    let inserted = 0;
    const audit = {
      begin: () => Promise.reject(new TemperaError("store_unavailable")),
    } as unknown as AdminDependencies["audit"];
    const response = await create(
      adminFor("ADMIN", { audit, keys: { insert: async () => void inserted++ } as never }),
      { alias: "mine" },
    );
    expect({ status: response.status, inserted }).toEqual({ status: 503, inserted: 0 });
  });

  it("is not written for an invalid request", async () => {
    const { records, audit } = record();
    const response = await create(adminFor("ADMIN", { audit }), { alias: "", scope: "ROOT", ownr: "acme" });
    expect(response.status).toBe(422);
    const { error } = (await response.json()) as {
      error: { type: string; message: string; faults: object[] };
    };
    expect(error.type).toBe("validation_error");
    expect(error.message).toBe(
      `alias: Input should be 1 to 100 printable ASCII characters; scope: Input should be 'API' or ` +
        `'ADMIN'; Unknown field "ownr" (did you mean "owner"?)`,
    );
    expect(error.faults).toHaveLength(3);
    expect(records.size).toBe(0);
  });
});

describe("an idempotency key", () => {
  it("is kept for every change but those with a stream as body, which cannot be compared", async () => {
    const replayable: string[] = [];
    const app = adminFor("ADMIN", {
      audit: { begin: async () => {}, settle: async () => {} } as never,
      keys: { insert: async () => {} } as never,
      idempotentWrite: async (c, _, write) => {
        replayable.push(c.req.path);
        return write();
      },
    });
    const headers = { authorization: "Key x:y", "idempotency-key": "one" };
    expect((await app.request("/v1/keys", { method: "POST", headers, body: '{"alias":"a"}' })).status).toBe(
      201,
    );
    expect(
      (await app.request("/v1/registry/versions", { method: "POST", headers, body: "an archive" })).status,
    ).toBe(411);
    expect(replayable).toEqual(["/v1/keys"]);
  });
});

it("finds a path whose last part has any character", async () => {
  const response = await adminFor("API").request("/v1/assets/a%0D%0Ab/c", {
    headers: { authorization: "Key x:y" },
  });
  expect(response.status).toBe(501);
});

it("says when an address that sent too many wrong keys is served again", async () => {
  const app = adminFor(undefined, { authFailures: createAuthFailures() });
  const call = () =>
    app.request(
      "/v1/keys",
      { headers: { authorization: "Key x:y" } },
      { incoming: { socket: { remoteAddress: "192.0.2.1" } } },
    );
  for (let sent = 0; sent < LIMITS.authFailuresMax; sent++) await call();
  const refused = await call();
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(2);
});

describe("models and prices", () => {
  const model = (endpoint: string, over: object = {}) => ({
    endpoint,
    version: "1.0.0",
    digest: "d",
    title: endpoint.split("/")[1],
    description: "Draws.",
    category: "text-to-image",
    runner: "stub",
    engine: "stub",
    slots: 1,
    memoryMiB: 1,
    pinned: false,
    schemas: { input: { type: "object", properties: {} }, output: { type: "object" } },
    ...over,
  });
  const broken = {
    get input(): never {
      throw new Error("no schema");
    },
    output: {},
  };
  const models = [
    model("t/apple", { price: { unit: "image", unitPrice: 0.1, currency: "USD" } }),
    model("t/bread", {
      price: { unit: "second", unitPrice: 0.2, currency: "EUR" },
      category: "text-to-video",
    }),
    model("t/cheese", { schemas: broken }),
  ];
  const pipeline = model("workflows/t-dinner", { category: "workflow" });
  const route = (endpoint: string) => {
    if (endpoint === pipeline.endpoint) return { pipeline };
    const found = models.find((each) => each.endpoint === endpoint);
    return found && { model: found };
  };
  const app = adminFor("API", {
    registry: { list: () => models, pipelines: () => [pipeline], route } as never,
    publicUrl: "http://here",
  });
  const call = async (path: string, body?: object) => {
    const init = body ? { method: "POST", body: JSON.stringify(body) } : {};
    const response = await app.request(`/v1/models${path}`, {
      headers: { authorization: "Key x:y" },
      ...init,
    });
    return { status: response.status, body: (await response.json()) as never };
  };
  const found = async (query: string): Promise<string[]> =>
    ((await call(query)).body as { models: { endpoint_id: string }[] }).models.map(
      ({ endpoint_id }) => endpoint_id,
    );

  it("finds models by words, category and status", async () => {
    expect(await found("?q=draws%20CHEE")).toEqual(["t/cheese"]);
    expect(await found("?category=text-to-video")).toEqual(["t/bread"]);
    expect(await found("?status=deprecated")).toEqual([]);
    expect(await found("?category=workflow")).toEqual([pipeline.endpoint]);
    expect(await found("?endpoint_id=t/bread&endpoint_id=t/apple&endpoint_id=t/bread")).toEqual([
      "t/apple",
      "t/bread",
    ]);
    expect((await call("?expand=everything")).status).toBe(422);
    expect(
      (await call(`?${Array.from({ length: 51 }, (_, n) => `endpoint_id=t/${n}`).join("&")}`)).status,
    ).toBe(422);
  });

  it("returns an error in place of a schema that cannot be made, and all other schemas", async () => {
    const { status, body } = await call("?expand=openapi-3.0");
    expect(status).toBe(200);
    expect(body).toMatchObject({
      models: [
        { openapi: { openapi: "3.0.4", servers: [{ url: "http://here/queue" }] } },
        { openapi: { openapi: "3.0.4" } },
        { openapi: { error: { code: "openapi_unavailable", message: expect.any(String) } } },
        { endpoint_id: pipeline.endpoint, openapi: { openapi: "3.0.4" } },
      ],
    });
  });

  it("takes prices from the manifests; a model without one is free", async () => {
    expect((await call("/pricing?endpoint_id=t/apple&endpoint_id=t/cheese")).body).toEqual({
      prices: [
        { endpoint_id: "t/apple", unit_price: 0.1, unit: "image", currency: "USD" },
        { endpoint_id: "t/cheese", unit_price: 0, unit: "request", currency: "USD" },
      ],
      next_cursor: null,
      has_more: false,
    });
    expect((await call("/pricing")).status).toBe(422);
    expect((await call("/pricing?endpoint_id=t/none")).status).toBe(404);
    const estimate = (endpoints: object, estimate_type = "unit_price") =>
      call("/pricing/estimate", { estimate_type, endpoints });
    expect(
      (await estimate({ "t/apple": { unit_quantity: 3 }, "t/cheese": { unit_quantity: 9 } })).body,
    ).toEqual({
      estimate_type: "unit_price",
      total_cost: 0.3,
      currency: "USD",
    });
    expect((await estimate({ "t/bread": { call_quantity: 2 } }, "historical_api_price")).body).toMatchObject({
      total_cost: 0.4,
      currency: "EUR",
    });
    expect(
      (await estimate({ "t/apple": { unit_quantity: 1 }, "t/bread": { unit_quantity: 1 } })).body,
    ).toMatchObject({
      error: { message: "The prices are in USD and EUR; ask for each currency by itself" },
    });
    for (const bad of [
      {},
      { "t/apple": {} },
      { "t/apple": { unit_quantity: -1 } },
      { "t/apple": { unit_quantity: "3" } },
    ])
      expect((await estimate(bad)).status).toBe(422);
  });
});

describe("refusals", () => {
  it("names the methods of the path in a 405, and echoes at most 200 characters of it in a 404", async () => {
    const wrong = await adminFor("ADMIN").request("/v1/keys", { method: "PUT" });
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get("allow")).toBe("GET, HEAD, POST");
    const unknown = await adminFor("ADMIN").request(`/v1/${"n".repeat(5_000)}`);
    expect(unknown.status).toBe(404);
    expect((await unknown.text()).length).toBeLessThan(500);
  });

  it("reveals nothing of an unexpected error", async () => {
    const list = async (): Promise<never> => {
      throw new Error("postgres://user:secret@db");
    };
    const response = await adminFor("ADMIN", { keys: { list } as never }).request("/v1/keys", {
      headers: { authorization: "Key x:y" },
    });
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({
      error: { type: "server_error", message: "Internal Server Error" },
    });
  });
});
