/** A gateway whose Temporal or PostgreSQL is away, or does not answer, behind relays. */
import { randomUUID } from "node:crypto";
import type { Connection } from "@temporalio/client";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createTemporalCalls, type TemporalCalls } from "../../src/adapters/temporal/calls.ts";
import { createClosedJobs } from "../../src/adapters/temporal/closed-jobs.ts";
import { startGateway } from "../../src/bin/gateway.ts";
import { openRegistry } from "../../src/bin/open-registry.ts";
import { openParts, type Parts } from "../../src/bin/parts.ts";
import { createLogger } from "../../src/config/logger.ts";
import { deliveryWorkflowId } from "../../src/core/webhooks/webhook.ts";
import { type Receiver, startReceiver } from "../conformance/fal/receiver.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { type Relay, startRelay } from "./relay.ts";

const STUB = "tempera/stub";
/** Longer than any test: a job that ends was ended. */
const LONG = { prompt: "x", delay_ms: 600_000 };
/** The body of `workflows/execute` with such a job as its node. */
const WORKFLOW = {
  input: {},
  workflow: {
    a: { type: "run", app: STUB, depends: ["input"], input: LONG },
    shown: { type: "display", depends: ["a"], fields: { text: "$a.echo" } },
  },
};
const PATIENT = { deadlineMs: 600_000, probeMs: 600_000 };
const IMPATIENT = { deadlineMs: 50, probeMs: 50 };

let test: TestPlatform;
let receiver: Receiver;
let temporal: Relay;
let postgres: Relay;
beforeAll(async () => {
  receiver = await startReceiver("127.0.0.1");
  test = await startTestPlatform({ TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8" });
  const { host, port } = new URL(test.databaseUrl);
  temporal = await startRelay((test.temporal.connection as Connection).options.address);
  postgres = await startRelay(port ? host : `${host}:5432`);
});
afterAll(async () => {
  await temporal[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await test[Symbol.asyncDispose]();
  await receiver.close();
});

afterEach(async () => {
  temporal.releaseAnswers();
  await temporal.restore();
  await postgres.restore();
});

interface Gateway extends AsyncDisposable {
  calls: TemporalCalls;
  /** Longest waits for Temporal, which a test changes. */
  times: { deadlineMs: number; probeMs: number };
  post(path: string, input: object, key?: string): Promise<Answer>;
  get(path: string): Promise<Answer>;
}
interface Answer {
  status: number;
  headers: Headers;
  requestId: string;
  body: { request_id?: string; status?: string; detail?: unknown };
}

/** Starts a gateway of its own behind both relays. */
async function startBehindRelays(): Promise<Gateway> {
  const { config } = test;
  const url = new URL(test.databaseUrl);
  url.host = postgres.address;
  const parts: Parts = await openParts(
    { ...config, server: { ...config.server, port: 0 } },
    await openRegistry(config),
    {
      temporal: temporal.address,
      databaseUrl: url.href,
      ...(config.redis.url && { redisUrl: config.redis.url }),
    },
    createLogger(config.log, "behind relays"),
  );
  const times = { ...PATIENT };
  const calls = createTemporalCalls(parts.client, times);
  const gateway = await startGateway(parts, {}, calls);
  const send = async (path: string, init: RequestInit): Promise<Answer> => {
    const answer = await fetch(`http://localhost:${gateway.port}${path}`, {
      ...init,
      headers: { authorization: `Key ${test.platform.key}`, ...init.headers },
    });
    const body = (await answer.json()) as Answer["body"];
    const requestId = body.request_id ?? answer.headers.get("x-fal-request-id") ?? "";
    return { status: answer.status, headers: answer.headers, body, requestId };
  };
  return {
    calls,
    times,
    post: (path, input, key) =>
      send(path, {
        method: "POST",
        body: JSON.stringify(input),
        headers: key === undefined ? {} : { "idempotency-key": key },
      }),
    get: (path) => send(path, {}),
    async [Symbol.asyncDispose]() {
      await gateway.stop();
      await parts[Symbol.asyncDispose]();
    },
  };
}

const stateOf = (requestId: string) => () => test.workflow(requestId);
const ended = async (requestId: string): Promise<void> => {
  for await (const { status } of test.client.follow(STUB, requestId)) if (status === "COMPLETED") return;
};
const count = async (table: string, requestId: string): Promise<number> => {
  const [{ found }] = await test.sql<
    [{ found: number }]
  >`SELECT count(*)::int AS found FROM ${test.sql(table)} WHERE request_id = ${requestId}`;
  return found;
};

describe("a start whose answer is lost", () => {
  /** Posts while Temporal's answers are held. */
  async function postUnanswered(gateway: Gateway, path: string, key?: string): Promise<Answer> {
    temporal.holdAnswers();
    Object.assign(gateway.times, IMPATIENT);
    return gateway.post(path, path.includes("workflows") ? WORKFLOW : LONG, key);
  }

  /** Asserts that a job was ended and left nothing. */
  async function assertWithdrawn(gateway: Gateway, { requestId }: Answer, endpoint: string): Promise<void> {
    await expect.poll(stateOf(requestId)).toBe("TERMINATED");
    await expect.poll(() => count("withdrawals", requestId)).toBe(0);
    await expect
      .poll(async () => (await gateway.get(`/queue/${endpoint}/requests/${requestId}/status`)).status)
      .toBe(404);
    for (const table of ["requests", "usage", "dead_letters"]) expect(await count(table, requestId)).toBe(0);
    expect(await stateOf(deliveryWorkflowId(requestId))()).toBeUndefined();
    // The reconciliation of usage takes it for no closed job.
    expect(await createClosedJobs(test.temporal).started(requestId)).toBeUndefined();
  }

  it.each([`/queue/${STUB}?fal_webhook=`, `/${STUB}`, `/${STUB}/stream`, "/queue/workflows/execute"])(
    "leaves no job that runs: %s",
    async (path) => {
      await using gateway = await startBehindRelays();
      const hook = path.endsWith("=") ? encodeURIComponent(receiver.hook().url) : "";
      const refused = await postUnanswered(gateway, `${path}${hook}`);
      expect(refused.status).toBe(503);
      expect(JSON.stringify(refused.body)).toMatch(/not known whether the request was accepted; it is being/);
      expect(refused.headers.get("retry-after")).toBe("2");
      temporal.releaseAnswers();
      Object.assign(gateway.times, PATIENT);
      await assertWithdrawn(gateway, refused, path.includes("workflows") ? "workflows/execute" : STUB);
    },
  );

  it("is ended by an orchestrator when its gateway has died", async () => {
    const gateway = await startBehindRelays();
    const { requestId } = await postUnanswered(gateway, `/queue/${STUB}`);
    await expect.poll(() => count("withdrawals", requestId)).toBe(1);
    await gateway[Symbol.asyncDispose]();
    temporal.releaseAnswers();
    await expect.poll(stateOf(requestId)).toBe("TERMINATED");
  });

  it("is left to the next call with its idempotency key", async () => {
    await using gateway = await startBehindRelays();
    const key = randomUUID();
    const refused = await postUnanswered(gateway, `/queue/${STUB}`, key);
    expect(refused.status).toBe(503);
    expect(JSON.stringify(refused.body)).toContain("send it again unchanged");
    temporal.releaseAnswers();
    Object.assign(gateway.times, PATIENT);
    // A probe that was impatient may still find Temporal away.
    const again = () => gateway.post(`/queue/${STUB}`, LONG, key);
    await expect.poll(again).toMatchObject({ status: 200, requestId: refused.requestId });
    await test.client.cancel(STUB, refused.requestId);
  });
});

describe("Temporal away", () => {
  it("is an answer at once, until Temporal is back", async () => {
    await using gateway = await startBehindRelays();
    await temporal.cut();
    Object.assign(gateway.times, IMPATIENT);
    expect((await gateway.post(`/queue/${STUB}`, LONG)).status).toBe(503);
    await expect.poll(() => gateway.calls.isAway).toBe(true);
    // A submit that waited for Temporal now would outlast the test.
    gateway.times.deadlineMs = PATIENT.deadlineMs;
    const key = randomUUID();
    for (const each of [undefined, key]) {
      const refused = await gateway.post(`/queue/${STUB}`, LONG, each);
      expect(refused.status).toBe(503);
      expect(refused.headers.get("retry-after")).toBe("2");
      expect(JSON.stringify(refused.body)).toContain("nothing was queued");
    }
    await temporal.restore();
    gateway.times.probeMs = PATIENT.probeMs;
    await expect.poll(() => gateway.calls.isAway).toBe(false);
    // The refused call has left its key free, for another input too.
    const accepted = await gateway.post(`/queue/${STUB}`, { prompt: "another" }, key);
    expect(accepted.status).toBe(200);
    await ended(accepted.requestId);
  });
});

describe("PostgreSQL away", () => {
  let gateway: Gateway;
  beforeEach(async () => {
    gateway = await startBehindRelays();
    // The gateway knows the key and its limits from now on.
    await ended((await gateway.post(`/queue/${STUB}`, { prompt: "x" })).requestId);
    await postgres.cut();
    return async () => {
      await gateway[Symbol.asyncDispose]();
    };
  });

  it("does not stop submits with an idempotency key, which are one request with every store", async () => {
    const [key, input] = [randomUUID(), { prompt: "x", delay_ms: 20 }];
    const answers = await Promise.all([1, 2, 3].map(() => gateway.post(`/queue/${STUB}`, input, key)));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
    const ids = new Set(answers.map(({ requestId }) => requestId));
    expect(ids.size).toBe(1);
    const [requestId] = [...ids] as [string];
    await ended(requestId);
    await expect
      .poll(async () => (await gateway.post(`/queue/${STUB}`, input, key)).body)
      .toMatchObject({ request_id: requestId, status: "COMPLETED" });
    const other = await gateway.post(`/queue/${STUB}`, { prompt: "y" }, key);
    expect(other.status).toBe(422);
    expect(JSON.stringify(other.body)).toContain(requestId);
    await postgres.restore();
    const stored = () => test.sql`SELECT request_id FROM claims WHERE key = ${`key:${key}`}`;
    await expect.poll(stored).toEqual([{ request_id: requestId }]);
    await expect
      .poll(() => gateway.post(`/queue/${STUB}`, input, key))
      .toMatchObject({ status: 200, requestId });
    expect((await gateway.post(`/queue/${STUB}`, { prompt: "y" }, key)).status).toBe(422);
  });

  it("does not stop submits whose input is stored apart: what cannot be counted is stored", async () => {
    const { status, requestId } = await gateway.post(`/queue/${STUB}`, { payload: "x".repeat(40_000) });
    expect(status).toBe(200);
    await ended(requestId);
  });

  it("refuses one of two calls that use a key for different inputs at the same instant", async () => {
    const key = randomUUID();
    const answers = await Promise.all(
      ["a", "b", "c"].map((prompt) => gateway.post(`/queue/${STUB}`, { prompt }, key)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 422, 422]);
    await postgres.restore();
    await ended(answers.find(({ status }) => status === 200)?.requestId ?? "");
  });
});
