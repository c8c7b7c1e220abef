import type { OpenAPIHono } from "@hono/zod-openapi";
import { beforeAll, describe, expect, it } from "vitest";
import { wideBudgets } from "../../../../tests/setup/wide-budgets.ts";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import { createAuthFailures } from "../../auth/auth-failure-limiter.ts";
import { type AdminDependencies, adminOpenapi, createAdmin } from "../admin.ts";

interface Operation {
  "x-tempera-scope": string;
  "x-tempera-audit"?: string;
  requestBody?: { content: object; required: boolean };
  responses: Record<string, { content?: object; headers?: object }>;
}
const document = JSON.parse(adminOpenapi()) as { paths: Record<string, Record<string, Operation>> };
const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
);
const withJson = operations.filter(
  ({ operation: { requestBody } }) => requestBody && "application/json" in requestBody.content,
);

type KeyRing = AdminDependencies["keyRing"];
const ADMIN = async () => ({ ownerId: "owner", keyId: "key", scope: "ADMIN" as const });

/** Creates an admin service without stores. */
function adminWith(authenticate: () => Promise<unknown>, over: object = {}): OpenAPIHono {
  const ignore = (): void => {};
  return createAdmin({
    keyRing: { authenticate } as unknown as KeyRing,
    authFailures: createAuthFailures({ rest: async () => {} }),
    limits: { countCall: async () => {} },
    budgets: wideBudgets(),
    log: { debug: ignore, info: ignore, warn: ignore, error: ignore },
    webhookSources: [],
    crashesOfOwnerMax: 5,
    idempotentWrite: (_c: unknown, _call: unknown, write: () => Promise<Response>) => write(),
    ...over,
  } as unknown as AdminDependencies) as unknown as OpenAPIHono;
}

const call = (
  app: OpenAPIHono,
  { method, path }: { method: string; path: string },
  { from, ...init }: RequestInit & { from?: string } = {},
) =>
  app.request(
    path.replace(/\{\w+\}/g, "x"),
    { ...init, method, headers: { authorization: "Key x:y", ...init.headers } },
    // Wrong keys are counted by the address that they come from.
    { ...(from && { incoming: { socket: { remoteAddress: from } } }) },
  );
const failing = (error: Error) =>
  adminWith(async () => {
    throw error;
  });
const wrongKey = failing(new TemperaError("key_unknown"));
const admin = adminWith(ADMIN);
const limited = failing(new TemperaError("key_unknown"));
const closed = operations.filter(({ operation }) => operation["x-tempera-scope"] !== "none");

/** Calls that are refused before any handler; the reply must be in the document. */
const REFUSALS: {
  status: number;
  title: string;
  of: typeof operations;
  app: OpenAPIHono;
  init?: RequestInit & { from?: string };
}[] = [
  { status: 401, title: "a key that is unknown", of: closed, app: wrongKey },
  {
    status: 503,
    title: "a key whose pepper is missing",
    of: closed,
    app: failing(new TemperaError("key_pepper_missing")),
  },
  {
    status: 503,
    title: "a store that is away",
    of: closed,
    app: failing(new TemperaError("store_unavailable")),
  },
  { status: 500, title: "a fault of the program", of: closed, app: failing(new Error("unexpected")) },
  {
    status: 429,
    title: "an address with too many wrong keys",
    of: operations,
    app: limited,
    init: { from: "192.0.2.1" },
  },
  { status: 400, title: "a body that is no JSON", of: withJson, app: admin, init: { body: "{" } },
  {
    status: 415,
    title: "a body in an unknown coding",
    of: withJson,
    app: admin,
    init: { body: "{}", headers: { "content-encoding": "zstd" } },
  },
  { status: 422, title: "a body of the wrong type", of: withJson, app: admin, init: { body: "7" } },
];

describe("the OpenAPI document", () => {
  beforeAll(async () => {
    const wrong = { method: "GET", path: "/v1/keys" };
    for (let sent = 0; sent < LIMITS.authFailuresMax; sent++)
      await call(limited, wrong, { from: "192.0.2.1" });
  });

  it.each(REFUSALS)("tells of every operation: $status, $title", async ({ status, of, app, init }) => {
    expect(of.length).toBeGreaterThan(20);
    for (const each of of) {
      const name = `${each.method} ${each.path}`;
      const reply = await call(app, each, init);
      // A path that is malformed is refused before the body is read.
      if (reply.status !== 422) expect(reply.status, name).toBe(status);
      const described = each.operation.responses[reply.status];
      expect(described?.content, name).toHaveProperty("application/json");
      expect(described?.headers !== undefined, name).toBe(reply.headers.has("retry-after"));
    }
  });

  it("tells what no handler sees: a head or a body that is too large, a body that does not arrive", () => {
    for (const { method, path, operation } of operations)
      expect(operation.responses, `${method} ${path}`).toHaveProperty("431");
    for (const { method, path, operation } of withJson)
      for (const status of ["408", "413"])
        expect(operation.responses, `${method} ${path}`).toHaveProperty(status);
  });

  it("tells that a changed input with an idempotency key is refused", () => {
    const changes = operations.filter(({ operation }) => operation["x-tempera-audit"]);
    expect(changes.length).toBeGreaterThan(20);
    for (const { method, path, operation } of changes)
      expect(operation.responses, `${method} ${path}`).toHaveProperty("422");
  });

  it("describes a call without an implementation by its 501 alone, without a success", () => {
    const open = operations.filter(({ operation }) => operation.responses[501]);
    expect(open.length).toBeGreaterThan(20);
    for (const { operation } of open)
      expect(Object.keys(operation.responses).filter((status) => status.startsWith("2"))).toEqual([]);
  });

  it("describes a stream by the schema of one event", () => {
    const stream = document.paths["/v1/serverless/logs/stream"]?.post?.responses["200"];
    expect(stream).toMatchObject({
      content: { "text/event-stream": { schema: { type: "object", required: ["data"] } } },
    });
  });

  it("permits null where a schema that is referred to may be null", () => {
    const broken: string[] = [];
    const look = (node: unknown, at: string): void => {
      if (typeof node !== "object" || node === null) return;
      const { allOf } = node as { allOf?: { $ref?: string; type?: unknown }[] };
      // A reference to an object and "an object or null" permit no null together.
      if (allOf?.some(({ type }) => Array.isArray(type) && type.includes("null"))) broken.push(at);
      for (const [name, value] of Object.entries(node)) look(value, `${at}/${name}`);
    };
    look(document, "");
    expect(broken).toEqual([]);
  });

  it("requires a body that cannot be empty, also one that is an archive", () => {
    const required = (path: string): boolean | undefined => document.paths[path]?.post?.requestBody?.required;
    expect(required("/v1/tempera/codec/decode")).toBe(true);
    expect(required("/v1/tempera/retention/run")).toBe(false);
    expect(document.paths["/v1/registry/versions"]?.post?.requestBody?.content).toHaveProperty(
      "application/gzip",
    );
  });
});
