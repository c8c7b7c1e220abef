/** Engines as operators see and control them, on a running platform. */
import { execFile } from "node:child_process";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const STUB = "tempera/stub";

interface EngineView {
  endpoint_id: string;
  worker: string;
  state: string;
  polled: boolean;
  pid: number | null;
  memory_mib: number | null;
  budget_mib: number;
  running: number;
  failures: number;
  last_failure: string | null;
}

let test: TestPlatform;
beforeAll(async () => {
  test = await startTestPlatform({
    TEMPERA_WORKER_NAME: "worker-1",
    TEMPERA_WORKER_MODELS: STUB,
    TEMPERA_WORKER_MEMORY_MIB: "1000",
    TEMPERA_ENGINE_TRIAL_SECONDS: "3600",
  });
});
afterAll(() => test[Symbol.asyncDispose]());

const admin = (method: string, path: string, body?: unknown): Promise<Response> =>
  fetch(`${test.platform.adminUrl}${path}`, {
    method,
    headers: { authorization: `Key ${test.platform.key}` },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
const engine = async (): Promise<EngineView> => {
  const { engines } = (await (await admin("GET", "/v1/engines")).json()) as { engines: EngineView[] };
  expect(engines).toHaveLength(1);
  return engines[0] as EngineView;
};
/** Crashes the engine by a request of an owner of its own. */
const crash = async (owner: string): Promise<void> => {
  const { key } = await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: owner, owner });
  const answer = await test.call(`/queue/${STUB}`, {
    method: "POST",
    body: JSON.stringify({ fail: "crash", delay_ms: 20 }),
    headers: { authorization: `Key ${key}`, "x-fal-no-retry": "1" },
  });
  const { request_id } = (await answer.json()) as { request_id: string };
  expect((await test.record(request_id))?.outcome).toMatchObject({
    error: { code: "runner_disconnected" },
  });
};
const tempera = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((done) => {
    const env = { ...process.env, TEMPERA_ADMIN_URL: test.platform.adminUrl, TEMPERA_KEY: test.platform.key };
    execFile(
      process.execPath,
      [join(PROJECT, "scripts/tempera.mjs"), ...args],
      { cwd: PROJECT, env },
      (error, out, err) => done({ code: error ? Number(error.code ?? 1) : 0, out, err }),
    );
  });

describe("GET /v1/engines", () => {
  it("lists what is loaded, where, and its requests", async () => {
    expect(await engine()).toMatchObject({
      endpoint_id: STUB,
      version: "1.0.0",
      worker: "worker-1",
      device: "cpu",
      state: "ready",
      polled: true,
      pid: expect.any(Number),
      memory_mib: expect.any(Number),
      budget_mib: 1000,
      running: 0,
      failures: 0,
      last_failure: null,
    });
    const { request_id } = await test.client.submit(STUB, { delay_ms: 60_000 });
    await expect.poll(async () => (await engine()).running).toBe(1);
    await test.client.cancel(STUB, request_id);
    await expect.poll(async () => (await engine()).running).toBe(0);
    // A request that begins after a cancel, and ends, shows that the engine has ended the cancelled one,
    // which could have caused a crash otherwise.
    const { request_id: next } = await test.client.submit(STUB, {});
    for await (const { error } of test.client.follow(STUB, next)) expect(error).toBeUndefined();
  });
});

describe("a model that keeps crashing its engine", () => {
  it("is unhealthy after crashes of three owners: requests wait, and run after a reset", async () => {
    for (const owner of ["ann", "bob", "eve"]) await crash(owner);
    await expect.poll(engine).toMatchObject({
      state: "unhealthy",
      polled: false,
      pid: null,
      // The request that crashed it leaves a moment later.
      running: 0,
      failures: 3,
      last_failure: "The engine was ended by SIGKILL",
    });
    const listed = await tempera("engines", "list");
    expect(listed.out).toMatch(
      /^tempera\/stub +1\.0\.0 +worker-1 +cpu +unhealthy +no +0 +0 +3 +The engine was ended by SIGKILL$/m,
    );

    const { request_id } = await test.client.submit(STUB, { prompt: "patient" });
    await expect.poll(() => test.backlog(STUB)).toBe(1);
    expect(await test.client.status(STUB, request_id)).toMatchObject({ status: "IN_QUEUE" });
    const messages = async () => {
      const status = await test.call(`/queue/${STUB}/requests/${request_id}/status?logs=1`);
      return ((await status.json()) as { logs: { message: string }[] }).logs.map(({ message }) => message);
    };
    await expect
      .poll(messages)
      .toEqual([
        expect.stringContaining("is unhealthy on every GPU worker (The engine was ended by SIGKILL)"),
      ]);
    // A request with a deadline fails when it has passed.
    const hurried = await test.call(`/${STUB}`, {
      method: "POST",
      body: "{}",
      headers: { "x-fal-request-timeout": "0.3" },
    });
    expect([hurried.status, hurried.headers.get("x-fal-error-type")]).toEqual([504, "startup_timeout"]);

    const reset = await tempera("engines", "reset", STUB);
    expect(reset).toMatchObject({
      code: 0,
      err: "tempera/stub 1.0.0 on worker-1: asked to serve it again.\n",
    });
    for await (const { error } of test.client.follow(STUB, request_id)) expect(error).toBeUndefined();
    expect(await test.client.result(STUB, request_id)).toMatchObject({ echo: "patient" });
    await expect
      .poll(engine)
      .toMatchObject({ state: "ready", polled: true, failures: 0, last_failure: null });
  });

  it("stays available when one request crashes its engine again and again", async () => {
    const { request_id } = await test.client.submit(STUB, { fail: "crash" });
    const ends: (string | undefined)[] = [];
    for await (const { status, error_type } of test.client.follow(STUB, request_id))
      if (status === "COMPLETED") ends.push(error_type);
    expect(ends).toEqual(["input_quarantined"]);
    expect(await engine()).toMatchObject({ failures: 1, polled: true });
    const { request_id: next } = await test.client.submit(STUB, { prompt: "next" });
    for await (const { error } of test.client.follow(STUB, next)) expect(error).toBeUndefined();
    await expect.poll(engine).toMatchObject({ failures: 0 });
  });
});

describe("POST /v1/engines/reset", () => {
  it("answers 404 for an unknown model or worker, 422 without an endpoint, 401 without a key", async () => {
    for (const body of [
      { endpoint_id: "no/model" },
      { endpoint_id: STUB, worker: "nobody" },
      { endpoint_id: STUB, version: "9.0.0" },
    ]) {
      const answer = await admin("POST", "/v1/engines/reset", body);
      expect(answer.status).toBe(404);
      expect(await answer.json()).toMatchObject({
        error: { type: "not_found", message: "No GPU worker serves this model." },
      });
    }
    for (const body of [{}, { endpoint_id: 7 }, { endpoint_id: STUB, worker: [] }, []])
      expect((await admin("POST", "/v1/engines/reset", body)).status).toBe(422);
    expect((await fetch(`${test.platform.adminUrl}/v1/engines`)).status).toBe(401);
    expect(await tempera("engines", "reset", "no/model")).toMatchObject({
      code: 1,
      err: "tempera: No GPU worker serves this model.\n",
    });
  });

  it("leaves a healthy model as it is, and takes a version and a worker", async () => {
    const answer = await admin("POST", "/v1/engines/reset", {
      endpoint_id: STUB,
      version: "1.0.0",
      worker: "worker-1",
    });
    expect([answer.status, await answer.json()]).toEqual([
      202,
      { requested: [{ endpoint_id: STUB, version: "1.0.0", worker: "worker-1" }] },
    ]);
    expect(await engine()).toMatchObject({ state: "ready", polled: true });
  });
});

describe("a drained GPU worker", () => {
  interface WorkerView {
    worker: string;
    state: string;
  }
  const worker = async (): Promise<WorkerView> => {
    const { workers } = (await (await admin("GET", "/v1/tempera/workers")).json()) as {
      workers: WorkerView[];
    };
    expect(workers.map((each) => each.worker)).toEqual(["worker-1"]);
    return workers[0] as WorkerView;
  };
  const ended = async (id: string): Promise<void> => {
    for await (const { status } of test.client.follow(STUB, id)) if (status === "COMPLETED") return;
  };

  it("finishes its requests and takes no new ones until it is resumed, also by model", async () => {
    const { request_id: running } = await test.client.submit(STUB, { delay_ms: 1_500, steps: 3 });
    for await (const { status } of test.client.follow(STUB, running)) if (status === "IN_PROGRESS") break;
    expect(JSON.parse((await tempera("workers", "drain", "worker-1", "--json")).out)).toEqual({
      worker: "worker-1",
      drained: true,
    });
    await expect.poll(async () => (await worker()).state).toBe("drained");
    expect(await test.client.result(STUB, running)).toMatchObject({ attempt: 1 });

    const { request_id: waiting } = await test.client.submit(STUB, { prompt: "later" });
    await expect.poll(() => test.backlog(STUB)).toBe(1);
    expect((await test.client.status(STUB, waiting)).status).toBe("IN_QUEUE");
    expect((await engine()).polled).toBe(false);

    expect((await tempera("workers", "resume", "worker-1")).code).toBe(0);
    await ended(waiting);
    await expect.poll(async () => (await engine()).polled).toBe(true);
    expect((await worker()).state).toBe("serving");

    expect((await tempera("engines", "drain", STUB)).err).toContain(`${STUB} 1.0.0 on worker-1`);
    await expect.poll(async () => (await engine()).polled).toBe(false);
    const { request_id: last } = await test.client.submit(STUB, {});
    expect((await tempera("engines", "resume", STUB)).code).toBe(0);
    await ended(last);

    const { audit } = (await (await admin("GET", "/v1/tempera/audit?action=workers")).json()) as {
      audit: object[];
    };
    expect(audit).toMatchObject([
      { action: "workers.resume", subject: "worker-1", state: "made", after: { drained: false } },
      {
        action: "workers.drain",
        subject: "worker-1",
        state: "made",
        before: { state: "serving" },
        after: { drained: true },
      },
    ]);
    expect((await admin("POST", "/v1/tempera/workers/nobody/drain")).status).toBe(404);
  });
});
