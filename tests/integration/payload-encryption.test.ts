/** Payload encryption on a whole platform: the data that the Temporal server holds, and its readers. */
import { createHash, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client, Connection, WorkflowNotFoundError } from "@temporalio/client";
import type { Payload } from "@temporalio/common";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPayloadCodec } from "../../src/adapters/temporal/payload-codec.ts";
import { type Platform, startPlatform } from "../../src/bin/platform.ts";
import { createPlatformClient, type PlatformClient } from "../../src/cli/platform-client.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import { createLogger } from "../../src/config/logger.ts";
import { parsePayloadKeys } from "../../src/core/operations/payload-keys.ts";
import { ORCHESTRATOR_QUEUE } from "../../src/core/requests/job.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { startTemporal } from "../../src/dev/services/temporal.ts";
import { type Receiver, startReceiver } from "../conformance/fal/receiver.ts";
import { type TestDatabase, testDatabase } from "../setup/test-database.ts";

const STUB = "tempera/stub";
const MARKER = "a secret garden behind the seventh wall";
const PIPELINE = "tempera/stub-pipeline";
const UI = "https://temporal-ui.example.com";
const key = (id: string): string => `${id}:${createHash("sha256").update(id).digest("base64")}`;

let folder: string;
let database: TestDatabase;
let temporal: Awaited<ReturnType<typeof startTemporal>>;
let connection: Connection;
let receiver: Receiver;
let running: { platform: Platform; client: PlatformClient } | undefined;
const prefix = `test-${randomUUID()}:`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-test-"));
  [database, temporal, receiver] = await Promise.all([
    testDatabase(),
    startTemporal({ folder: join(folder, "temporal"), inMemory: true, log: () => {} }),
    startReceiver("127.0.0.1"),
  ]);
  connection = await Connection.connect({ address: temporal.url });
});
afterAll(async () => {
  await running?.platform.stop();
  await receiver.close();
  await connection.close();
  await temporal.stop();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

/** Restarts the same installation with other keys. */
async function restartWith(
  keys: string | undefined,
  more: NodeJS.ProcessEnv = {},
): Promise<{ platform: Platform; client: PlatformClient }> {
  await running?.platform.stop();
  running = undefined;
  const config = loadConfig({
    TEMPERA_PORT: String(await freePort()),
    TEMPERA_ADMIN_PORT: "0",
    TEMPERA_DATA: folder,
    TEMPERA_LOG_LEVEL: "silent",
    TEMPERA_GRACE_SECONDS: "0",
    TEMPERA_TEST_MODELS: "true",
    TEMPERA_WORKER_MODELS: STUB,
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
    TEMPERA_WEBHOOK_DELAYS: "0.1",
    TEMPERA_TEMPORAL_UI_ORIGIN: UI,
    DATABASE_URL: database.url,
    REDIS_URL: process.env.TEST_REDIS_URL,
    TEMPERA_REDIS_PREFIX: prefix,
    TEMPORAL_ADDRESS: temporal.url,
    TEMPERA_PAYLOAD_KEYS: keys,
    ...more,
  });
  const platform = await startPlatform(config, createLogger(config.log, "test"), () => {});
  running = { platform, client: createPlatformClient(platform) };
  return running;
}

const call = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${running?.platform.url}${path}`, {
    ...init,
    headers: { authorization: `Key ${running?.platform.key}`, ...init.headers },
  });

async function submit(input: object, query = "", endpoint = STUB): Promise<string> {
  const answer = await call(`/queue/${endpoint}${query}`, { method: "POST", body: JSON.stringify(input) });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { request_id: string }).request_id;
}
async function ended(requestId: string, endpoint = STUB): Promise<{ status: number; body: unknown }> {
  await expect
    .poll(
      async () =>
        ((await (await call(`/queue/${endpoint}/requests/${requestId}/status`)).json()) as { status: string })
          .status,
    )
    .toBe("COMPLETED");
  const answer = await call(`/queue/${endpoint}/requests/${requestId}`);
  return { status: answer.status, body: await answer.json() };
}

/**
 * Returns everything that the server holds of all workflows, with memos and summaries, as one text. Waits
 * until these workflows are listed.
 */
async function held(expected: string[]): Promise<string> {
  const client = new Client({ connection, namespace: "tempera" });
  const listed = async () =>
    (await connection.workflowService.listWorkflowExecutions({ namespace: "tempera" })).executions ?? [];
  // The list of workflows lags behind.
  await expect
    .poll(async () => (await listed()).map(({ execution }) => execution?.workflowId))
    .toEqual(expect.arrayContaining(expected));
  const parts: string[] = [];
  for (const execution of await listed()) {
    const workflowId = execution.execution?.workflowId ?? "";
    collect(execution, parts);
    collect(await client.workflow.getHandle(workflowId).fetchHistory(), parts);
    collect(
      await connection.workflowService.describeWorkflowExecution({
        namespace: "tempera",
        execution: { workflowId },
      }),
      parts,
    );
  }
  return parts.join("\n");
}
function collect(value: unknown, parts: string[]): void {
  if (typeof value === "string") parts.push(value);
  else if (value instanceof Uint8Array) parts.push(Buffer.from(value).toString("utf8"));
  else if (typeof value === "object" && value !== null) {
    // The server searches by search attributes, which stay readable: endpoint, version, owner.
    for (const [name, each] of Object.entries(value)) if (name !== "searchAttributes") collect(each, parts);
  }
}

/** Returns the encrypted payloads of a workflow's start, as the Temporal UI sends them. */
async function startPayloads(
  workflowId: string,
): Promise<{ metadata: Record<string, string>; data: string }[]> {
  const { events } = await new Client({ connection, namespace: "tempera" }).workflow
    .getHandle(workflowId)
    .fetchHistory();
  const payloads = events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
  return payloads.map(({ metadata, data }) => ({
    metadata: Object.fromEntries(
      Object.entries(metadata ?? {}).map(([name, value]) => [name, Buffer.from(value).toString("base64")]),
    ),
    data: Buffer.from(data ?? []).toString("base64"),
  }));
}
const codec = async (
  direction: "encode" | "decode",
  payloads: unknown,
  headers: Record<string, string> = {},
): Promise<Response> =>
  fetch(`${running?.platform.adminUrl}/v1/tempera/codec/${direction}`, {
    method: "POST",
    headers: {
      authorization: `Key ${running?.platform.key}`,
      "content-type": "application/json",
      origin: UI,
      "x-namespace": "tempera",
      ...headers,
    },
    body: JSON.stringify({ payloads }),
  });
const textOf = (payloads: { data: string }[]): string =>
  payloads.map(({ data }) => Buffer.from(data, "base64").toString()).join();

let first: string;

describe("with a key", () => {
  it("runs a job, a retry, a failure and a webhook, and the server holds no plaintext of them", async () => {
    await restartWith(key("one"));
    const hook = receiver.hook();
    first = await submit({ prompt: MARKER }, `?fal_webhook=${encodeURIComponent(hook.url)}`);
    expect(await ended(first)).toEqual({ status: 200, body: expect.objectContaining({ echo: MARKER }) });
    const failed = await submit({ prompt: MARKER, fail: "invalid" });
    const refused = await ended(failed);
    // It crashes its engine, so it comes last: requests in its company would be suspects, and of several that
    // wait to be alone all but one are handed over, as one more attempt.
    const retried = await submit({ prompt: MARKER, fail: "crash", fail_attempts: 1 });
    expect(await ended(retried)).toEqual({
      status: 200,
      body: expect.objectContaining({ echo: MARKER, attempt: 2 }),
    });
    expect(refused.status).toBe(422);
    const [delivered] = await hook.arrived(1);
    expect(delivered?.body).toMatchObject({ request_id: first, payload: { echo: MARKER } });

    const text = await held([first, retried, failed, `${first}/webhook`]);
    expect(text).toContain("binary/encrypted");
    expect(text).toContain("Encoded failure");
    expect(text).not.toContain(MARKER.slice(0, 12));
    expect(text).not.toContain(hook.url);
    const [{ msg }] = (refused.body as { detail: [{ msg: string }] }).detail;
    expect(text).not.toContain(msg);
    // Data that the server works with stays readable.
    expect(text).toContain(STUB);
  });
});

describe("the codec endpoint", () => {
  it("decodes the server's payloads for an operator, and encodes payloads that it can decode", async () => {
    const stored = await startPayloads(first);
    const answer = await codec("decode", stored);
    expect(answer.status).toBe(200);
    expect(answer.headers.get("access-control-allow-origin")).toBe(UI);
    expect(answer.headers.get("access-control-allow-credentials")).toBe("true");
    const { payloads } = (await answer.json()) as { payloads: { data: string }[] };
    expect(textOf(payloads)).toContain(MARKER);
    const again = (await (await codec("encode", payloads)).json()) as { payloads: { data: string }[] };
    expect(textOf(again.payloads)).not.toContain(MARKER);
    expect(textOf(((await (await codec("decode", again.payloads)).json()) as typeof again).payloads)).toBe(
      textOf(payloads),
    );
  });

  it("accepts the key as a browser sends it, here and nowhere else", async () => {
    const basic = { authorization: `Basic ${Buffer.from(running?.platform.key ?? "").toString("base64")}` };
    expect((await codec("decode", await startPayloads(first), basic)).status).toBe(200);
    expect((await fetch(`${running?.platform.adminUrl}/v1/tempera/codec`, { headers: basic })).status).toBe(
      200,
    );
    expect((await fetch(`${running?.platform.adminUrl}/v1/keys`, { headers: basic })).status).toBe(401);
  });

  it("refuses everybody else, and lets no other page read it in a browser", async () => {
    const { key: narrow } = await (running as { client: PlatformClient }).client.admin<{ key: string }>(
      "POST",
      "/v1/keys",
      {
        alias: "everything but ADMIN",
        scope: "API",
      },
    );
    const stored = await startPayloads(first);
    const none = await codec("decode", stored, { authorization: "" });
    expect([none.status, none.headers.get("www-authenticate")]).toEqual([
      401,
      expect.stringMatching(/^Basic realm=/),
    ]);
    for (const authorization of [`Key ${narrow}`, `Basic ${Buffer.from(narrow).toString("base64")}`]) {
      const answer = await codec("decode", stored, { authorization });
      expect(answer.status).toBe(403);
      expect(await answer.text()).not.toContain("payloads");
    }
    expect((await codec("decode", stored, { authorization: "Basic ////" })).status).toBe(401);
    const elsewhere = await codec("decode", stored, { origin: "https://evil.example.com" });
    expect(elsewhere.headers.get("access-control-allow-origin")).toBeNull();
    const preflight = (origin: string) =>
      fetch(`${running?.platform.adminUrl}/v1/tempera/codec/decode`, {
        method: "OPTIONS",
        headers: {
          origin,
          "access-control-request-method": "POST",
          "access-control-request-headers": "content-type,x-namespace",
        },
      });
    expect((await preflight(UI)).headers.get("access-control-allow-headers")).toBe(
      "content-type,x-namespace",
    );
    expect(
      (await preflight("https://evil.example.com")).headers.get("access-control-allow-headers"),
    ).toBeNull();
  });

  it.each([[{}], ["x"], [[{ data: "not base64 !" }]], [[{ metadata: { encoding: 1 } }]]])(
    "says what does not fit in %j",
    async (payloads) => expect((await codec("decode", payloads)).status).toBe(422),
  );

  it("reports changed bytes", async () => {
    const [stored] = await startPayloads(first);
    const answer = await codec("decode", [
      { ...stored, data: Buffer.from("nothing that a key made").toString("base64") },
    ]);
    expect([answer.status, ((await answer.json()) as { error: { code: string } }).error.code]).toEqual([
      500,
      "payload_unreadable",
    ]);
  });
});

/**
 * Starts a job as somebody does who can write to Temporal: with these payloads as its input. Resolves with
 * the first event of a kind that shows whether a worker read them.
 */
async function startForged(payloads: readonly Payload[]): Promise<"read" | "refused"> {
  const workflowId = randomUUID();
  await connection.workflowService.startWorkflowExecution({
    namespace: "tempera",
    requestId: workflowId,
    workflowId,
    workflowType: { name: "inferenceJob" },
    taskQueue: { name: ORCHESTRATOR_QUEUE },
    input: { payloads: [...payloads] },
  });
  const handle = new Client({ connection, namespace: "tempera" }).workflow.getHandle(workflowId);
  for (;;) {
    const { events } = await handle.fetchHistory();
    const first = events?.find(
      (event) => event.workflowTaskFailedEventAttributes ?? event.workflowTaskCompletedEventAttributes,
    );
    if (!first) continue;
    // Not judged afterwards: Temporal fails the task that a worker has while the workflow is terminated.
    await handle.terminate("a test").catch((error: unknown) => {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    });
    return first.workflowTaskFailedEventAttributes ? "refused" : "read";
  }
}
async function inputOf(workflowId: string): Promise<Payload[]> {
  const handle = new Client({ connection, namespace: "tempera" }).workflow.getHandle(workflowId);
  const { events } = await handle.fetchHistory();
  return events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
}

/** Returns the stored input of a job, and what an earlier release would have stored of it. */
async function inputsOf(requestId: string): Promise<Record<"own" | "unbound" | "plain", Payload[]>> {
  const own = await inputOf(requestId);
  const keys = parsePayloadKeys(key("one"));
  const plain = await createPayloadCodec(keys).decode(own);
  return { own, plain, unbound: await createPayloadCodec(keys, "off").encode(plain) };
}

describe.each(["lean", "sdk"])("with binding required, on the workflow thread %s", (thread) => {
  beforeAll(async () => {
    await restartWith(key("one"), {
      TEMPERA_TEMPORAL_WORKFLOW_THREAD: thread,
      TEMPERA_PAYLOAD_BINDING: "required",
    });
  });

  it("pipelines, their nodes and children, deliveries, failures and schedules read their own", async () => {
    const hook = receiver.hook();
    const retried = { prompt: MARKER, fail: "crash", fail_attempts: 1 };
    const stages = [[retried, { stages: [[{ prompt: MARKER }]] }]];
    const query = `?fal_webhook=${encodeURIComponent(hook.url)}`;
    const pipeline = await submit({ stages }, query, PIPELINE);
    const result = await ended(pipeline, PIPELINE);
    expect(result.status).toBe(200);
    expect(JSON.stringify(result).split(MARKER)).toHaveLength(3);
    await hook.arrived(1);
    expect((await ended(await submit({ prompt: MARKER, fail: "invalid" }))).status).toBe(422);

    const { client } = running as { client: PlatformClient };
    interface Sweeps {
      sweeps: { sweep: string; runs: { state: string }[] }[];
    }
    const runs = async () => {
      const { sweeps } = await client.admin<Sweeps>("GET", "/v1/tempera/retention");
      return (sweeps.find(({ sweep }) => sweep === "expired")?.runs ?? []).map(({ state }) => state);
    };
    // Temporal hands the result of one run to the next.
    for (const count of [1, 2]) {
      const before = (await runs()).length;
      await client.admin("POST", "/v1/tempera/retention/run", { sweep: "expired" });
      await expect.poll(async () => (await runs()).length).toBe(Math.min(before + 1, 5));
      await expect
        .poll(async () => new Set(await runs()), { message: `run ${count}` })
        .toEqual(new Set(["COMPLETED"]));
    }
  });

  it("an input is refused in another request's workflow, as plaintext, and without a location", async () => {
    const { own, unbound, plain } = await inputsOf(await submit({ prompt: MARKER }));
    expect(await startForged(own)).toBe("refused");
    expect(await startForged(unbound)).toBe("refused");
    expect(await startForged(plain)).toBe("refused");
  });
});

it("in the time of grace, what was stored before is read, and what was copied is refused", async () => {
  await restartWith(key("one"));
  const { own, unbound, plain } = await inputsOf(await submit({ prompt: MARKER }));
  expect(await startForged(own)).toBe("refused");
  expect(await startForged(unbound)).toBe("read");
  expect(await startForged(plain)).toBe("read");
});

describe("rotation", () => {
  it("continues a running job under the new key, decodes old histories, encrypts new ones", async () => {
    const across = await submit({ prompt: MARKER, delay_ms: 3_000 });
    await restartWith(`${key("two")},${key("one")}`);
    expect(await ended(across)).toEqual({ status: 200, body: expect.objectContaining({ echo: MARKER }) });
    const { payloads } = (await (await codec("decode", await startPayloads(first))).json()) as {
      payloads: { data: string }[];
    };
    expect(textOf(payloads)).toContain(MARKER);
    const after = await submit({ prompt: MARKER });
    await ended(after);
    const [stored] = await startPayloads(after);
    expect(Buffer.from(stored?.metadata["encryption-key-id"] ?? "", "base64").toString()).toBe("two");
  });
});

describe("a start without a required key is refused and loses nothing", () => {
  it.each([
    ["none", undefined, /TEMPERA_PAYLOAD_KEYS lacks the key "one"/],
    ["the newest alone", key("two"), /TEMPERA_PAYLOAD_KEYS lacks the key "one"/],
    [
      "another of the same id",
      `${key("two")},one:${createHash("sha256").update("other").digest("base64")}`,
      /another key under the id "one"/,
    ],
  ])("with %s", async (_, keys, message) => {
    const waiting = running ? await submit({ prompt: MARKER, delay_ms: 1_000 }) : undefined;
    await expect(restartWith(keys)).rejects.toThrow(message);
    await restartWith(`off,${key("two")},${key("one")}`);
    if (waiting)
      expect(await ended(waiting)).toEqual({ status: 200, body: expect.objectContaining({ echo: MARKER }) });
  });

  it("decrypts and no longer encrypts with `off`", async () => {
    const [stored] = await startPayloads(await submit({ prompt: "in the open" }));
    expect(Buffer.from(stored?.data ?? "", "base64").toString()).toContain("in the open");
  });
});
