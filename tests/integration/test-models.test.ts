/** A platform that was not asked to serve the test models: they are not there, on any way to call them. */
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { packModel, readModelFolder } from "../../src/cli/pack-model.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";
const ECHO = "acme/echo";

let test: TestPlatform;
let folder: string;
let apiKey: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-withheld-"));
  const [models, schemas] = [join(folder, "models"), join(folder, "schemas")];
  await cp(join(PROJECT, "models", STUB), join(models, STUB), { recursive: true });
  await cp(join(PROJECT, "models", STUB), join(models, ECHO), { recursive: true });
  const manifest = join(models, ECHO, "1.0.0/model.yaml");
  await writeFile(manifest, (await readFile(manifest, "utf8")).replace(STUB, ECHO));
  await cp(join(PROJECT, "schemas"), schemas, { recursive: true });
  await cp(join(schemas, "models", STUB), join(schemas, "models", ECHO), { recursive: true });
  test = await startTestPlatform({
    TEMPERA_MODELS: models,
    TEMPERA_SCHEMAS: schemas,
    TEMPERA_TEST_MODELS: "false",
  });
  const made = await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: "stranger" });
  apiKey = made.key;
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const call = async (path: string, key: string, body?: object) => {
  const answer = await fetch(`${test.platform.url}${path}`, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Key ${key}`, "content-type": "application/json" },
    ...(body && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, text: await answer.text() };
};

const calls = (endpoint: string): [string, object?][] => [
  [`/queue/${endpoint}`, { prompt: "x" }],
  [`/run/${endpoint}`, { prompt: "x" }],
  [`/${endpoint}`, { prompt: "x" }],
  [`/${endpoint}/stream`, { prompt: "x" }],
  [`/api/openapi/queue/openapi.json?endpoint_id=${endpoint}`],
];

describe.each([STUB, "tempera/stub-pipeline"])("%s, which nobody asked for", (endpoint) => {
  it.each(calls(endpoint))("is unknown on %s", async (path, body) => {
    const { status, text } = await call(path, apiKey, body);
    expect(status).toBe(404);
    expect(text).not.toMatch(/test model|--with-test-models/);
  });

  it("is explained to callers of scope ADMIN", async () => {
    const { status, text } = await call(`/queue/${endpoint}`, test.platform.key, { prompt: "x" });
    expect(status).toBe(404);
    expect(text).toContain("--with-test-models");
  });

  it("is in no list", async () => {
    expect((await call("/models", apiKey)).text).not.toContain(endpoint);
    const { models } = await test.client.admin<{ models: unknown[] }>("GET", "/v1/models?limit=100");
    expect(JSON.stringify(models)).not.toContain(endpoint);
    expect([...test.platform.endpoints, ...test.platform.pipelines]).not.toContain(endpoint);
  });

  it("is no node of a workflow", async () => {
    const { status, text } = await call("/queue/workflows/execute", apiKey, {
      workflow: {
        nodes: {
          first: { id: "first", type: "run", app: endpoint, depends: [], input: { prompt: "x" } },
          output: { id: "output", type: "display", depends: ["first"], fields: { a: "$first.echo" } },
        },
        output: { a: "$first.echo" },
        schema: { input: {}, output: {} },
      },
      input: {},
    });
    expect(status, text).toBeGreaterThanOrEqual(400);
    expect(status, text).toBeLessThan(500);
  });
});

it.each(["/ws", ""])("has no WebSocket at %s/tempera/stub", async (tree) => {
  const path = tree === "" ? `/${STUB}/realtime` : `/ws/${STUB}`;
  const socket = new WebSocket(`${test.platform.url.replace("http", "ws")}${path}`, {
    headers: { authorization: `Key ${apiKey}` },
  });
  const said = await new Promise<string>((done) => {
    socket.on("message", (bytes) => done(String(bytes)));
    socket.on("unexpected-response", (_, answer) => done(`HTTP ${answer.statusCode}`));
    socket.on("error", (error) => done(error.message));
  });
  socket.terminate();
  expect(said).toMatch(/not found|HTTP 404/);
});

it("is no name for a model that is pushed", async () => {
  const folder = readModelFolder(join(PROJECT, "models", STUB, "1.0.0"), join(PROJECT, "schemas"));
  await using packed = await packModel(folder);
  await expect(
    test.client.sendFile("/v1/registry/versions", packed.file, "application/gzip"),
  ).rejects.toThrow(/tempera\/stub is the name of a test model, .*--with-test-models/);
});

it("serves the models beside them, and no worker started a test model", async () => {
  const { status, text } = await call(`/run/${ECHO}`, apiKey, { prompt: "hello" });
  expect([status, JSON.parse(text).echo]).toEqual([200, "hello"]);
  const { engines } = await test.client.admin<{ engines: { endpoint_id: string }[] }>("GET", "/v1/engines");
  expect(engines.map(({ endpoint_id }) => endpoint_id)).toEqual([ECHO]);
});
