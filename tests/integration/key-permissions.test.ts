/**
 * Keys that may do less than their scope allows, on every way into a platform: outside their addresses,
 * reading only, and limited to endpoints.
 */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { runTempera } from "./tempera-command.ts";

const STUB = "tempera/stub";
const PIPELINE = "tempera/stub-pipeline";
const OWNER = "ann";
/** The addresses of callers, as the trusted proxy gives them. */
const [INSIDE, OUTSIDE] = ["192.0.2.7", "198.51.100.7"];
const REFUSAL = {
  address: "This key may not be used from this address.",
  readOnly: "This key is for reading only.",
  endpoint: /This key may not call |This key is for calls of its endpoints only/,
};
const WORKFLOW = {
  name: "mine",
  title: "Mine",
  contents: {
    name: "mine",
    version: "1",
    nodes: {
      first: { id: "first", type: "run", app: STUB, depends: ["input"], input: { prompt: "x" } },
      output: { id: "output", type: "display", depends: ["first"], fields: { a: "$first.echo" } },
    },
    output: { a: "$first.echo" },
    schema: { input: {}, output: {} },
  },
};

let test: TestPlatform;
/** The keys of one owner, by what narrows them. */
const keys: Record<string, { key: string; key_id: string }> = {};
/** A finished request, one that waits, and a finished pipeline of the owner. */
let done: string;
let waiting: string;
let pipelineId: string;

interface NewKey {
  alias?: string;
  scope?: string;
  endpoints?: string[];
  addresses?: string[];
  read_only?: boolean;
}
const makeKey = (fields: NewKey) =>
  test.client.admin<{ key: string; key_id: string }>("POST", "/v1/keys", {
    alias: "k",
    owner: OWNER,
    ...fields,
  });
const keyOf = (name: string): string => keys[name]?.key ?? "";

interface Route {
  method: string;
  path: () => string;
  body?: object | string;
  /** It changes nothing. */
  reads?: true;
  /** It is about an endpoint, `tempera/stub` or the pipeline. */
  ofEndpoint?: true;
  admin?: true;
}

async function call(route: Route, key: string, from: string, more: Record<string, string> = {}) {
  const origin = route.admin ? test.platform.adminUrl : test.platform.url;
  const { body } = route;
  const answer = await fetch(`${origin}${route.path()}`, {
    method: route.method,
    headers: {
      ...(key && { authorization: `Key ${key}` }),
      "content-type": "application/json",
      "x-forwarded-for": `203.0.113.9, ${from}`,
      ...more,
    },
    ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  const text = answer.headers.get("content-type")?.includes("event-stream") ? "" : await answer.text();
  if (text === "") await answer.body?.cancel();
  return { status: answer.status, text };
}

const input = { prompt: "x" };
const ROUTES: Record<string, Route> = {
  submit: { method: "POST", path: () => `/queue/${STUB}`, body: input, ofEndpoint: true },
  status: {
    method: "GET",
    path: () => `/queue/${STUB}/requests/${done}/status`,
    reads: true,
    ofEndpoint: true,
  },
  "status stream": {
    method: "GET",
    path: () => `/queue/${STUB}/requests/${done}/status/stream`,
    reads: true,
    ofEndpoint: true,
  },
  result: { method: "GET", path: () => `/queue/${STUB}/requests/${done}`, reads: true, ofEndpoint: true },
  cancel: { method: "PUT", path: () => `/queue/${STUB}/requests/${waiting}/cancel`, ofEndpoint: true },
  rerun: {
    method: "POST",
    path: () => `/queue/${PIPELINE}/requests/${pipelineId}/rerun`,
    body: {},
    ofEndpoint: true,
  },
  run: { method: "POST", path: () => `/run/${STUB}`, body: input, ofEndpoint: true },
  "run by GET": { method: "GET", path: () => `/run/${STUB}?prompt=x`, ofEndpoint: true },
  "run at the root": { method: "POST", path: () => `/${STUB}`, body: input, ofEndpoint: true },
  stream: { method: "POST", path: () => `/run/${STUB}/stream`, body: input, ofEndpoint: true },
  "stream by GET": { method: "GET", path: () => `/${STUB}/stream?prompt=x`, ofEndpoint: true },
  pipeline: { method: "POST", path: () => `/queue/${PIPELINE}`, body: { stages: [] }, ofEndpoint: true },
  "workflow in the call": {
    method: "POST",
    path: () => "/queue/workflows/execute",
    body: { workflow: WORKFLOW.contents, input: {} },
    ofEndpoint: true,
  },
  token: {
    method: "POST",
    path: () => "/rest/tokens/",
    body: { allowed_apps: [STUB], token_expiration: 60 },
  },
  "token of the files": { method: "POST", path: () => "/rest/storage/auth/token", body: {} },
  upload: {
    method: "POST",
    path: () => "/rest/storage/upload/initiate",
    body: { content_type: "text/plain", file_name: "a.txt" },
  },
  "upload in parts": {
    method: "POST",
    path: () => "/rest/storage/upload/initiate-multipart",
    body: { content_type: "text/plain", file_name: "a.txt" },
  },
  "upload whole": { method: "POST", path: () => "/files/upload", body: "bytes" },
  "upload of the files tree in parts": { method: "POST", path: () => "/files/upload/multipart", body: {} },
  workflows: { method: "GET", path: () => "/rest/workflows", reads: true },
  "new workflow": { method: "POST", path: () => "/rest/workflows", body: WORKFLOW, ofEndpoint: true },
  workflow: { method: "GET", path: () => `/rest/workflows/${OWNER}/mine`, reads: true, ofEndpoint: true },
  "change of a workflow": {
    method: "PATCH",
    path: () => `/rest/workflows/${OWNER}/mine`,
    body: { title: "x" },
    ofEndpoint: true,
  },
  "removal of a workflow": {
    method: "DELETE",
    path: () => `/rest/workflows/${OWNER}/other`,
    ofEndpoint: true,
  },
  "list of requests": {
    method: "GET",
    path: () => `/v1/models/requests/by-endpoint?endpoint_id=${STUB}`,
    reads: true,
    ofEndpoint: true,
    admin: true,
  },
  "log lines": {
    method: "GET",
    path: () => "/v1/serverless/logs/history",
    reads: true,
    ofEndpoint: true,
    admin: true,
  },
  "log lines by POST": {
    method: "POST",
    path: () => "/v1/serverless/logs/history",
    body: [],
    reads: true,
    ofEndpoint: true,
    admin: true,
  },
  "flush of a queue": {
    method: "DELETE",
    path: () => `/v1/serverless/apps/${STUB}/queue`,
    ofEndpoint: true,
    admin: true,
  },
  "workflows of the Platform API": {
    method: "GET",
    path: () => "/v1/workflows",
    reads: true,
    ofEndpoint: true,
    admin: true,
  },
  "new workflow of the Platform API": {
    method: "POST",
    path: () => "/v1/workflows",
    body: WORKFLOW,
    ofEndpoint: true,
    admin: true,
  },
};

beforeAll(async () => {
  test = await startTestPlatform({ TEMPERA_TRUST_PROXY: "true", TEMPERA_WORKER_MODELS: STUB });
  Object.assign(keys, {
    full: await makeKey({}),
    address: await makeKey({ addresses: ["192.0.2.0/24", "2001:db8::/32"] }),
    readOnly: await makeKey({ read_only: true }),
    endpoint: await makeKey({ endpoints: ["acme/*", "tempera/stubborn"] }),
    stub: await makeKey({ endpoints: [STUB] }),
    pipelineAlone: await makeKey({ endpoints: [PIPELINE, "workflows/execute", `workflows/${OWNER}/*`] }),
    all: await makeKey({ endpoints: ["tempera/*", "workflows/*"], addresses: [INSIDE] }),
  });
  const begin = async (path: string, body: object): Promise<string> => {
    const { text } = await call({ method: "POST", path: () => path, body }, keyOf("full"), OUTSIDE);
    return (JSON.parse(text) as { request_id: string }).request_id;
  };
  done = await begin(`/queue/${STUB}`, input);
  pipelineId = await begin(`/queue/${PIPELINE}`, { stages: [[input]] });
  waiting = await begin(`/queue/${STUB}`, { delay_ms: 600_000 });
  await Promise.all([test.record(done), test.record(pipelineId)]);
  await call({ method: "POST", path: () => "/rest/workflows", body: WORKFLOW }, keyOf("full"), OUTSIDE);
});
afterAll(() => test[Symbol.asyncDispose]());

describe.each(Object.entries(ROUTES))("%s", (_, route) => {
  it("is refused outside the addresses of a key, and not within", async () => {
    const outside = await call(route, keyOf("address"), OUTSIDE);
    expect(outside.status).toBe(403);
    expect(outside.text).toContain(REFUSAL.address);
    expect(outside.text).not.toMatch(/192\.0\.2|2001:db8|ann/);
    if (route.reads) expect((await call(route, keyOf("address"), INSIDE)).status).toBeLessThan(300);
  });

  it("is for a key that only reads if it changes nothing", async () => {
    const { status, text } = await call(route, keyOf("readOnly"), OUTSIDE);
    if (route.reads) return expect(status, text).toBeLessThan(300);
    expect(status).toBe(403);
    expect(text).toContain(REFUSAL.readOnly);
  });

  it("is refused to a key for other endpoints if it is about an endpoint", async () => {
    const { status, text } = await call(route, keyOf("endpoint"), OUTSIDE);
    if (!route.ofEndpoint) return expect(status, text).not.toBe(403);
    expect(status).toBe(403);
    expect(text).toMatch(REFUSAL.endpoint);
  });

  it("is refused as before to a wrong secret of a narrowed key", async () => {
    const wrong = `${keys.address?.key_id}:${"0".repeat(64)}`;
    expect((await call(route, wrong, OUTSIDE)).status).toBe(401);
  });
});

it.each(["address", "readOnly", "endpoint"] as const)("the proxy form refuses a key: %s", async (name) => {
  const route: Route = { method: "POST", path: () => "/api/fal/proxy", body: input };
  const target = { "x-fal-target-url": `https://queue.fal.run/${STUB}` };
  const { status, text } = await call(route, keyOf(name), OUTSIDE, target);
  expect(status).toBe(403);
  expect(text).toMatch(REFUSAL[name]);
  expect((await call(route, keyOf("all"), INSIDE, target)).status).toBe(200);
});

/** Opens a WebSocket, and resolves with its first message or with the refusal. */
async function knock(path: string, key: string, from: string): Promise<string> {
  const socket = new WebSocket(`${test.platform.url.replace("http", "ws")}${path}`, {
    headers: { ...(key && { authorization: `Key ${key}` }), "x-forwarded-for": from },
  });
  const said = await new Promise<string>((end) => {
    socket.on("open", () => socket.send(JSON.stringify(input)));
    socket.on("message", (bytes) => end(String(bytes)));
    socket.on("unexpected-response", (_, answer) => {
      let text = `HTTP ${answer.statusCode} `;
      answer.on("data", (chunk: Buffer) => {
        text += chunk;
      });
      answer.on("end", () => end(text));
    });
    socket.on("error", (error) => end(error.message));
  });
  socket.terminate();
  return said;
}

describe.each([`/${STUB}/realtime`, `/ws/${STUB}`, `/ws/${STUB}/stream`])("a WebSocket at %s", (path) => {
  it.each(["address", "readOnly", "endpoint"] as const)("refuses a key: %s", async (name) =>
    expect(await knock(path, keyOf(name), OUTSIDE)).toMatch(REFUSAL[name]),
  );
  it("serves a key that permits it, to its last answer", async () => {
    const said = await knock(path, keyOf("all"), INSIDE);
    expect(said).not.toMatch(/This key|HTTP 4|error/i);
  });
});

describe("a token", () => {
  const issue = async (path: string, body: object, name: string): Promise<string> => {
    const { text } = await call({ method: "POST", path: () => path, body }, keyOf(name), INSIDE);
    const answer = JSON.parse(text) as string | { token: string };
    return typeof answer === "string" ? answer : answer.token;
  };
  const app = (name: string) => issue("/rest/tokens/", { allowed_apps: [STUB], token_expiration: 60 }, name);

  it.each(["address", "endpoint"] as const)("has the limits of its key: %s", async (name) => {
    const token = await app(name);
    const route: Route = {
      method: "POST",
      path: () => `/${STUB}/stream?fal_jwt_token=${token}`,
      body: input,
    };
    const { status, text } = await call(route, "", OUTSIDE);
    expect(status).toBe(403);
    expect(text).toMatch(REFUSAL[name]);
    const socket = `/${STUB}/realtime?fal_jwt_token=${token}`;
    expect(await knock(socket, "", OUTSIDE)).toMatch(REFUSAL[name]);
  });

  it("reads only, once its key does", async () => {
    const { key, key_id } = await makeKey({});
    keys.later = { key, key_id };
    const token = await app("later");
    const route: Route = {
      method: "POST",
      path: () => `/${STUB}/stream?fal_jwt_token=${token}`,
      body: input,
    };
    expect((await call(route, "", OUTSIDE)).status).toBe(200);
    await test.client.admin("PATCH", `/v1/keys/${key_id}`, { read_only: true });
    await expect.poll(async () => (await call(route, "", OUTSIDE)).text).toContain(REFUSAL.readOnly);
    await test.client.admin("PATCH", `/v1/keys/${key_id}`, { read_only: false });
    await expect.poll(async () => (await call(route, "", OUTSIDE)).status).toBe(200);
  });

  it("of the files has the addresses of its key", async () => {
    const token = await issue("/rest/storage/auth/token", {}, "address");
    const route: Route = { method: "POST", path: () => "/files/upload", body: "bytes" };
    const bearer = { authorization: `Bearer ${token}` };
    expect((await call(route, "", OUTSIDE, bearer)).text).toContain(REFUSAL.address);
    expect((await call(route, "", INSIDE, bearer)).status).toBe(200);
  });
});

describe("the nodes of a pipeline", () => {
  const refusal = `This key may not call ${STUB}.`;

  it.each([
    ["a pipeline", `/queue/${PIPELINE}`, { stages: [] }],
    ["a run of a pipeline", `/run/${PIPELINE}`, { stages: [] }],
    ["a workflow in the call", "/queue/workflows/execute", { workflow: WORKFLOW.contents, input: {} }],
    ["a saved workflow", `/queue/workflows/${OWNER}/mine`, {}],
    ["a new workflow", "/rest/workflows", { ...WORKFLOW, name: "third" }],
  ])("must be permitted too: %s", async (_, path, body) => {
    const route: Route = { method: "POST", path: () => path, body };
    const { status, text } = await call(route, keyOf("pipelineAlone"), OUTSIDE);
    expect(status, text).toBe(403);
    expect(text).toContain(refusal);
    const permitted = await call(route, keyOf("all"), INSIDE);
    expect(permitted.status, permitted.text).toBeLessThan(300);
  });

  it("must be permitted to a rerun", async () => {
    const route: Route = {
      method: "POST",
      path: () => `/queue/${PIPELINE}/requests/${pipelineId}/rerun`,
      body: {},
    };
    expect((await call(route, keyOf("pipelineAlone"), OUTSIDE)).text).toContain(refusal);
    expect((await call(route, keyOf("all"), INSIDE)).status).toBe(200);
  });

  it("are not permitted by a key for one model, nor is the pipeline", async () => {
    const post = (path: string, body: object) =>
      call({ method: "POST", path: () => path, body }, keyOf("stub"), OUTSIDE);
    expect((await post(`/queue/${PIPELINE}`, { stages: [] })).text).toContain(`may not call ${PIPELINE}`);
    expect((await post(`/queue/${STUB}`, input)).status).toBe(200);
  });
});

describe("the Platform API", () => {
  it("narrows and widens a key, field by field, and records it", async () => {
    const { key_id } = await makeKey({ addresses: ["10.0.0.0/8"], read_only: true });
    const patch = (fields: object) => test.client.admin<object>("PATCH", `/v1/keys/${key_id}`, fields);
    expect(await patch({ endpoints: ["fal-ai/wan/*"], alias: "other" })).toMatchObject({
      alias: "other",
      endpoints: ["fal-ai/wan/*"],
      addresses: ["10.0.0.0/8"],
      read_only: true,
      expires_at: null,
    });
    expect(await patch({ addresses: null, expires_at: "2199-01-01" })).toMatchObject({
      endpoints: ["fal-ai/wan/*"],
      addresses: null,
      read_only: true,
      expires_at: "2199-01-01T00:00:00.000Z",
    });
    expect(await patch({ endpoints: null, read_only: false, expires_at: null })).toMatchObject({
      endpoints: null,
      addresses: null,
      read_only: false,
      expires_at: null,
    });
    const { audit } = await test.client.admin<{ audit: { subject: string }[] }>(
      "GET",
      "/v1/tempera/audit?action=keys.change&limit=100",
    );
    expect(audit.filter(({ subject }) => subject === key_id)).toHaveLength(3);
  });

  it.each([
    [{ endpoints: [] }],
    [{ endpoints: ["fal-ai"] }],
    [{ endpoints: ["*/wan"] }],
    [{ addresses: ["10.0.0.0/33"] }],
    [{ addresses: ["example.com"] }],
    [{ read_only: "yes" }],
    [{ scope: "ADMIN", endpoints: ["a/b"] }],
  ])("refuses %j", async (fields) =>
    expect(makeKey(fields as NewKey)).rejects.toMatchObject({ status: 422 }),
  );

  it("limits keys of scope ADMIN by address and to reading", async () => {
    const { key } = await makeKey({ scope: "ADMIN", addresses: [INSIDE], read_only: true });
    const list: Route = { method: "GET", path: () => "/v1/keys", admin: true };
    const make: Route = { method: "POST", path: () => "/v1/keys", body: { alias: "x" }, admin: true };
    expect((await call(list, key, INSIDE)).status).toBe(200);
    expect((await call(list, key, OUTSIDE)).text).toContain(REFUSAL.address);
    expect((await call(make, key, INSIDE)).text).toContain(REFUSAL.readOnly);
  });

  it("changes no key that was revoked", async () => {
    const { key_id } = await makeKey({});
    await test.client.admin("DELETE", `/v1/keys/${key_id}`);
    await expect(test.client.admin("PATCH", `/v1/keys/${key_id}`, { alias: "x" })).rejects.toMatchObject({
      status: 404,
    });
  });
});

it("tempera keys create and change narrow a key", async () => {
  const tempera = async (...args: string[]): Promise<string> =>
    (await runTempera(test, "keys", ...args, "--json")).stdout;
  const narrow = ["--endpoint", "fal-ai/wan/*", "--endpoint", STUB, "--address", "10.0.0.0/8", "--read-only"];
  const made = JSON.parse(await tempera("create", "batch", ...narrow)) as { key_id: string };
  expect(made).toMatchObject({
    endpoints: ["fal-ai/wan/*", STUB],
    addresses: ["10.0.0.0/8"],
    read_only: true,
  });
  const changed = await tempera("change", made.key_id, "--no-endpoint", "--address", "::1", "--no-read-only");
  expect(JSON.parse(changed)).toMatchObject({ endpoints: null, addresses: ["::1"], read_only: false });
  expect(JSON.parse(await tempera("change", made.key_id, "--alias", "night"))).toMatchObject({
    alias: "night",
    addresses: ["::1"],
  });
});
