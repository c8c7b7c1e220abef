import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { wideBudgets } from "../../tests/setup/wide-budgets.ts";
import type { JsonObject } from "../core/json/json.ts";
import type { ModelVersion } from "../core/models/model.ts";
import type { Snapshot } from "../core/requests/events.ts";
import type { JobSpec } from "../core/requests/job.ts";
import { isRequestId } from "../core/requests/request.ts";
import { createInputCheck } from "../registry/input-check.ts";
import { createAuthFailures } from "./auth/auth-failure-limiter.ts";
import type { ApiDependencies } from "./dependencies.ts";
import { createGateway, PROXY_PATH } from "./gateway.ts";

const MODEL = {
  endpoint: "a/b/c",
  version: "1.0.0",
  digest: "d",
  retry: { attemptsMax: 5, initialMs: 1, backoff: 1, maximumMs: 1 },
  timeouts: { heartbeatMs: 1000, runMs: 1000, loadMs: 1000 },
  schemas: {
    input: { type: "object", required: ["prompt"], properties: { prompt: { type: "string" } } },
    output: {},
  },
  restrictions: [] as ModelVersion["restrictions"],
} as unknown as ModelVersion;

const DONE: Snapshot = {
  requestId: "019a1b2c-0000-7000-8000-000000000000",
  ownerId: "ann",
  endpoint: MODEL.endpoint,
  version: MODEL.version,
  taskQueue: "q",
  priority: "normal",
  state: "COMPLETED",
  attempt: 1,
  queuedAtMs: 0,
};

/** A gateway whose stores hold one finished request, and the jobs that were started through it. */
function createTestGateway() {
  const jobs: JobSpec[] = [];
  const unused = new Proxy(
    {},
    { get: (_target, name) => () => Promise.reject(new Error(`${String(name)} was not expected`)) },
  );
  const silent = { debug() {}, info() {}, warn() {}, error() {} };
  const route = { model: MODEL, checkInput: createInputCheck(MODEL) };
  const api = {
    registry: {
      route: (endpoint: string) =>
        [MODEL.endpoint, "tempera/two-views"].includes(endpoint) ? route : undefined,
      hasApp: (app: string) => app === "a/b",
      list: () => [MODEL, { ...MODEL, endpoint: "tempera/two-looks", version: "switched off" }],
      pipelines: () => [{ endpoint: "tempera/two-views" }],
    },
    flags: { isOn: () => true },
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    webhookOf: () => undefined,
    jobs: { start: async (job: JobSpec) => void jobs.push(job) },
    events: {
      append: async () => {},
      position: async () => 0,
      snapshot: async (id: string) => (id === DONE.requestId ? DONE : undefined),
      read: async () => [
        { id: "1-0", atMs: 1, event: { type: "log", attempt: 1, level: "INFO", message: "a line" } },
      ],
      outcome: async () => ({
        snapshot: DONE,
        outcome: { ok: true, output: { inline: { done: true } }, metrics: {} },
      }),
    },
    requests: { insert: async () => {} },
    limits: {
      countCall: async () => {},
      reserveQueued: async () => undefined,
      reserveSpend: async () => undefined,
      checkStorage: async () => {},
      of: async () => ({ owner: {}, key: {} }),
    },
    budgets: wideBudgets(),
    objects: unused,
    keys: unused,
    authFailures: createAuthFailures(),
    storageDefaults: { of: () => undefined },
    clock: { nowMs: () => 0 },
    log: silent,
    bodyBytesMax: 10_000,
    publicUrl: undefined,
  };
  return { jobs, gateway: createGateway(api as unknown as ApiDependencies) };
}

let test: ReturnType<typeof createTestGateway>;
const outbound = vi.fn(() => Promise.reject(new Error("a request left the process")));
beforeEach(() => {
  test = createTestGateway();
  outbound.mockClear();
  vi.stubGlobal("fetch", outbound);
});
afterEach(() => {
  vi.unstubAllGlobals();
  expect(outbound).not.toHaveBeenCalled();
});

/** One call as fal's JavaScript client makes it with `proxyUrl`. */
async function proxied(target: string | undefined, init: RequestInit = {}, path = PROXY_PATH) {
  const headers = {
    ...(target !== undefined && { "x-fal-target-url": target }),
    ...(init.headers as Record<string, string>),
  };
  const response = await test.gateway.request(path, { ...init, headers });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    body: (text === "" ? undefined : JSON.parse(text)) as JsonObject,
  };
}
const submit = (target: string, headers: Record<string, string> = {}) =>
  proxied(target, { method: "POST", body: '{"prompt":"x"}', headers });

describe("the proxy form", () => {
  it.each(["https://queue.fal.run/a/b/c", "http://queue.fal.run/a/b/c/", "https://queue.falrun.com//a/b/c"])(
    "submits to %s",
    async (target) => {
      const { status, body } = await submit(target, { "x-fal-queue-priority": "low" });
      expect(status).toBe(200);
      expect(test.jobs).toMatchObject([
        {
          requestId: body.request_id,
          endpoint: "a/b/c",
          priority: "low",
          input: { inline: { prompt: "x" } },
        },
      ]);
      expect(body.status_url).toBe(`http://localhost/queue/a/b/requests/${body.request_id}/status`);
    },
  );

  it.each([{}, { origin: "https://app.example.com" }])(
    "carries the id of the request, not an id of the proxy call (%j)",
    async (headers) => {
      const { headers: replied, body } = await submit(
        "https://queue.fal.run/a/b/c",
        headers as Record<string, string>,
      );
      expect(replied.get("x-fal-request-id")).toBe(body.request_id);
      const result = await proxied(`https://queue.fal.run/a/b/requests/${DONE.requestId}`, {
        headers: headers as Record<string, string>,
      });
      expect(result).toMatchObject({ status: 200, body: { done: true } });
      expect(result.headers.get("x-fal-request-id")).toBe(DONE.requestId);
    },
  );

  it("refuses TRACE, which cannot be forwarded, as every path does", async () => {
    // Node's server sets the method of such a request afterwards.
    const request = new Request(`http://localhost${PROXY_PATH}`, {
      headers: { "x-fal-target-url": "https://queue.fal.run/a/b/c" },
    });
    Object.defineProperty(request, "method", { value: "TRACE" });
    expect((await test.gateway.fetch(request)).status).toBe(405);
  });

  it("keeps the target's query and drops its own", async () => {
    const status = `https://queue.fal.run/a/b/requests/${DONE.requestId}/status`;
    expect((await proxied(`${status}?logs=1`)).body.logs).toHaveLength(1);
    expect((await proxied(status, {}, `${PROXY_PATH}?logs=1`)).body.logs).toBeNull();
  });

  it("keeps the method", async () => {
    const { status, headers } = await proxied("https://queue.fal.run/a/b/c", { method: "DELETE" });
    expect(status).toBe(405);
    expect(headers.get("allow")).toBe("POST");
  });

  it.each([
    undefined,
    "",
    "queue.fal.run/a/b",
    "https://example.com/a/b/c",
    "http://127.0.0.1:8081/v1/keys",
    "http://169.254.169.254/latest/meta-data",
    "https://queue.fal.run@example.com/a/b/c",
    "https://queue.fal.run:8443/a/b/c",
    "file:///etc/passwd",
    "https://fal.ai//evil.example/llms.txt",
    "https://fal.ai//[",
  ])("refuses %j", async (target) => {
    const { status, body, headers } = await proxied(target, { method: "POST", body: "{}" });
    expect({ status, body }).toEqual({ status: 400, body: { detail: "Invalid request" } });
    expect(isRequestId(headers.get("x-fal-request-id") ?? "")).toBe(true);
    expect(test.jobs).toEqual([]);
  });

  it("reaches neither paths outside the target's tree nor the proxy form itself", async () => {
    for (const path of ["../../health/live", "%2e%2e/health/live", "..%2f..%2fhealth/live"])
      expect((await proxied(`https://queue.fal.run/${path}`)).body).not.toEqual({ status: "live" });
    expect((await proxied(`https://queue.fal.run${PROXY_PATH}`)).status).not.toBe(200);
  });
});

describe("a wrong method", () => {
  it.each([
    ["GET", "/rest/storage/upload/initiate", "POST"],
    ["PUT", "/rest/storage/upload/initiate-multipart", "POST"],
    ["GET", "/rest/storage/auth/token", "POST"],
    ["POST", "/rest/.well-known/jwks.json", "GET, HEAD"],
    ["DELETE", "/.well-known/jwks.json", "GET, HEAD"],
    ["POST", "/api/openapi/queue/openapi.json", "GET, HEAD"],
    ["PUT", "/models/a/b/c/llms.txt", "GET, HEAD"],
    ["POST", "/llms.txt", "GET, HEAD"],
    ["POST", "/health", "GET, HEAD"],
    ["POST", "/health/live", "GET, HEAD"],
    ["DELETE", "/health/ready", "GET, HEAD"],
  ])("%s %s is 405 and names the allowed ones", async (method, path, allow) => {
    const response = await test.gateway.request(path, { method });
    expect([response.status, response.headers.get("allow")]).toEqual([405, allow]);
    expect(await response.json()).toEqual({ detail: "Method Not Allowed" });
  });
});

describe("every answer has a request id", () => {
  it.each([
    ["/", "GET", 404],
    ["/queue", "GET", 404],
    ["/queue/a/b/c", "GET", 405],
    ["/queue/a/b/x", "POST", 404],
    ["/queue/x/y", "POST", 404],
    ["/queue/a/b/c/requests", "GET", 404],
    [`/queue/a/b/requests/${DONE.requestId}/constructor`, "GET", 404],
    [`/queue/a/b/requests/${DONE.requestId}/status`, "PUT", 405],
    ["/queue/a/b/requests/nonsense/status", "GET", 404],
    ["/files/../etc/passwd", "GET", 404],
    ["/files/aa/x.png", "GET", 404],
    ["/health/live", "GET", 200],
  ])("%s %s → %i", async (path, method, status) => {
    const response = await test.gateway.request(path, { method });
    expect(response.status).toBe(status);
    expect(isRequestId(response.headers.get("x-fal-request-id") ?? "")).toBe(true);
    expect(response.headers.get("content-type")).toMatch(/^application\/json/);
    await response.json();
  });

  it.each([
    ["text", "hello", 400],
    ["a list", "[]", 422],
    ["an input that does not fit", '{"prompt":5}', 422],
    ["a body that is too large", JSON.stringify({ prompt: "a".repeat(10_001) }), 413],
  ])("also when nothing is queued because of %s", async (_name, body, status) => {
    const response = await test.gateway.request("/queue/a/b/c", { method: "POST", body });
    expect(response.status).toBe(status);
    expect(((await response.json()) as JsonObject).detail).toBeTruthy();
    expect(isRequestId(response.headers.get("x-fal-request-id") ?? "")).toBe(true);
    expect(test.jobs).toEqual([]);
  });
});

const REQUEST = `/queue/a/b/requests/${DONE.requestId}`;

describe("HEAD", () => {
  it.each([`${REQUEST}/status`, REQUEST, `${REQUEST}/response`, `${REQUEST}/status/stream`])(
    "%s has the status and headers of GET, and no body",
    async (path) => {
      const [head, get] = await Promise.all(
        ["HEAD", "GET"].map((method) => test.gateway.request(path, { method })),
      );
      expect(head?.status).toBe(200);
      expect(Object.fromEntries(head?.headers ?? [])).toEqual(Object.fromEntries(get?.headers ?? []));
      expect(await head?.text()).toBe("");
      await get?.body?.cancel();
    },
  );

  it("of a stream leaves nothing open", async () => {
    vi.useFakeTimers();
    try {
      await test.gateway.request(`${REQUEST}/status/stream`, { method: "HEAD" });
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it("of a model's run is refused, since GET runs the model", async () => {
    const { status, headers } = await test.gateway.request("/run/a/b/c", { method: "HEAD" });
    expect([status, headers.get("allow")]).toEqual([405, "POST, GET"]);
  });
});

describe("an answer that may change", () => {
  it.each([
    ["GET", `${REQUEST}/status`],
    ["GET", `${REQUEST}/status/stream`],
    ["GET", REQUEST],
    ["GET", "/queue/a/b/requests/nonsense/status"],
    ["GET", "/queue/a/b/requests/nonsense"],
    ["GET", "/queue/a/b/c"],
    ["POST", "/queue/a/b/c"],
    ["GET", "/run/a/b/c"],
    ["GET", "/run/a/b/x"],
    ["GET", "/files/aa/x.png"],
    ["GET", "/health/live"],
    ["GET", "/"],
  ])("is not stored by caches: %s %s", async (method, path) => {
    const response = await test.gateway.request(path, { method, ...(method === "POST" && { body: "{}" }) });
    expect(response.headers.get("cache-control")).toBe("no-store");
    await response.body?.cancel();
  });
});

describe("%2F in a path, as encodeURIComponent writes it, is a slash", () => {
  it.each(["/queue/a%2Fb%2Fc", "/queue/a%2fb/c", "/queue/a%2Fb%2Fc%2F"])("submits to %s", async (path) => {
    const response = await test.gateway.request(path, { method: "POST", body: '{"prompt":"x"}' });
    expect(response.status).toBe(200);
    expect(test.jobs).toMatchObject([{ endpoint: "a/b/c" }]);
  });

  it("also through the proxy form", async () => {
    expect((await submit("https://queue.fal.run/a%2Fb%2Fc")).status).toBe(200);
    expect(test.jobs).toMatchObject([{ endpoint: "a/b/c" }]);
  });

  it.each([
    `/queue/a%2Fb/requests/${DONE.requestId}`,
    `/queue/a%2Fb%2Frequests%2F${DONE.requestId}%2Fresponse`,
  ])("finds the request of %s", async (path) => {
    expect(await (await test.gateway.request(path)).json()).toEqual({ done: true });
  });

  it.each(["/run/a%2Fb%2Fc", "/a%2Fb%2Fc"])("runs %s", async (path) => {
    const response = await test.gateway.request(path, { method: "POST", body: '{"prompt":5}' });
    expect(response.status).toBe(422);
  });

  it.each(["/queue/..%2F..%2Fhealth%2Flive", "/queue%2Fa%2Fb%2Fc", "/run/..%2Fqueue", "/files/..%2Fhealth"])(
    "leads nowhere else: %s",
    async (path) => {
      for (const method of ["GET", "POST"])
        expect((await test.gateway.request(path, { method })).status).toBe(404);
      expect(test.jobs).toEqual([]);
    },
  );
});

describe("an unknown endpoint is refused with the nearest that is served", () => {
  it.each([
    ["/queue/tempera/two-view", 'Application "two-view" not found; did you mean "tempera/two-views"?'],
    ["/queue/fal-ai/two-views", 'Application "two-views" not found; did you mean "tempera/two-views"?'],
    ["/queue/a/b/d", 'Path /d not found; did you mean "a/b/c"?'],
    ["/queue/two-views", 'Path /queue/two-views not found; did you mean "tempera/two-views"?'],
    ["/run/two-views", 'Path /run/two-views not found; did you mean "tempera/two-views"?'],
    ["/two-view", 'Path /two-view not found; did you mean "tempera/two-views"?'],
    ["/run/tempera/twoviews", 'Application "twoviews" not found; did you mean "tempera/two-views"?'],
    ["/queue/fal-ai/flux", 'Application "flux" not found'],
    ["/queue/tempera/two-looks", 'Application "two-looks" not found; did you mean "tempera/two-views"?'],
    ["/favicon.ico", "Path /favicon.ico not found"],
    [`/queue/${"x".repeat(5_000)}`, `Path /queue/${"x".repeat(193)} not found`],
  ])("%s", async (path, detail) => {
    const response = await test.gateway.request(path, { method: "POST", body: "{}" });
    expect([response.status, await response.json()]).toEqual([404, { detail }]);
  });
});
