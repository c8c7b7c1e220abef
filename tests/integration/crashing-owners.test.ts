/** An owner whose requests crash engines, beside owners whose requests do not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCrashStore } from "../../src/adapters/postgres/engines/crash-store.ts";
import { CrashLedger } from "../../src/gpu-workers/worker/pool/crash-ledger.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

const STUB = "tempera/stub";
const VERSION = { endpoint: STUB, version: "1.0.0" };
const NO_RETRY = { "x-fal-no-retry": "1" };
const OF_OWNER_MAX = 4;

let test: TestPlatform;
const keys: Record<string, string> = {};
beforeAll(async () => {
  test = await startTestPlatform({
    TEMPERA_WORKER_MODELS: STUB,
    TEMPERA_ENGINE_CRASHES_OF_OWNER: String(OF_OWNER_MAX),
    TEMPERA_ENGINE_TRIAL_SECONDS: "1",
  });
  for (const owner of ["mallory", "malice", "ann", "bob", "eve", "zoe"])
    keys[owner] = (await test.client.admin<{ key: string }>("POST", "/v1/keys", { alias: owner, owner })).key;
});
afterAll(() => test[Symbol.asyncDispose]());

const post = (owner: string, path: string, input: object, headers: Record<string, string> = {}) =>
  test.call(path, {
    method: "POST",
    body: JSON.stringify(input),
    headers: { ...headers, authorization: `Key ${keys[owner]}` },
  });
const submit = async (owner: string, input: object, headers?: Record<string, string>): Promise<string> => {
  const answer = await post(owner, `/queue/${STUB}`, input, headers);
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { request_id: string }).request_id;
};
/** Waits for the end of a request. Returns its error, or undefined. */
const endOf = async (id: string): Promise<string | undefined> => {
  const outcome = (await test.record(id))?.outcome;
  return outcome?.ok === false ? outcome.error.code : undefined;
};
const ended = async (owner: string, input: object, headers?: Record<string, string>) =>
  endOf(await submit(owner, input, headers));
const engine = async (): Promise<{ state: string; polled: boolean; failures: number }> => {
  const { engines } = await test.client.admin<{
    engines: { state: string; polled: boolean; failures: number }[];
  }>("GET", "/v1/engines");
  return engines[0] as (typeof engines)[number];
};
const reset = () => test.client.admin("POST", "/v1/engines/reset", { endpoint_id: STUB });

describe("an input that crashes its engine", () => {
  it("ends after two attempts as a dead letter, is refused when sent again, and harms nobody", async () => {
    const poison = { fail: "crash", prompt: "poison" };
    const id = await submit("mallory", poison);
    expect(await endOf(id)).toBe("input_quarantined");
    expect(await test.record(id)).toMatchObject({ attempts: 3 });
    expect((await test.deadLetters()).map(({ requestId }) => requestId)).toContain(id);

    const again = await post("mallory", `/${STUB}`, poison);
    expect(again.status).toBe(422);
    expect(again.headers.get("x-fal-error-type")).toBe("input_quarantined");
    expect(again.headers.get("x-fal-needs-retry")).toBe("0");
    const { detail } = (await again.json()) as { detail: string };
    expect(detail).toContain(`crashed or hung the engine of ${STUB} 1.0.0 twice in the request ${id}.`);
    expect(detail).toContain("It is refused for 60 min");

    expect(await ended("mallory", { prompt: "fine" })).toBeUndefined();
    expect(await ended("ann", { prompt: "fine" })).toBeUndefined();
    expect(await engine()).toMatchObject({ state: "ready", failures: 0 });
  });

  it("is quarantined on a worker that has just started too, until an operator's reset", async () => {
    const records = await test.sql<{ owner_id: string; company: string; input_digest: string }[]>`
      SELECT owner_id, company, input_digest FROM engine_crashes`;
    expect(records.map(({ owner_id, company }) => [owner_id, company])).toEqual([
      ["mallory", "alone"],
      ["mallory", "alone"],
    ]);
    const poison = { ownerId: "mallory", digest: () => records[0]?.input_digest ?? "" };
    const startLedger = () =>
      CrashLedger.start({ store: createCrashStore(test.sql), ofOwnerMax: OF_OWNER_MAX, warn: () => {} });
    await using fresh = await startLedger();
    expect(fresh.treatmentOf(VERSION, poison).refusal?.code).toBe("input_quarantined");
    await reset();
    await using afterwards = await startLedger();
    expect(afterwards.treatmentOf(VERSION, poison)).toEqual({ alone: false, apart: false });
  });
});

describe("an owner who crashes engines with ever different inputs", () => {
  it("takes the model from nobody, and is refused by name after so many crashes", async () => {
    for (let i = 0; i < OF_OWNER_MAX; i++) {
      expect(await ended("malice", { fail: "crash", prompt: `attack ${i}` }, NO_RETRY)).toBe(
        "runner_disconnected",
      );
      expect((await engine()).state).not.toBe("unhealthy");
    }
    const refused = await post("malice", `/${STUB}`, { prompt: "fine" });
    expect([refused.status, refused.headers.get("x-fal-error-type")]).toEqual([429, "engine_crash_limit"]);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(60);
    // A job does not wait for the rest of the hour: it ends, and is kept for its owner.
    const job = await submit("malice", { prompt: "fine" });
    expect(await endOf(job)).toBe("engine_crash_limit");
    expect((await test.deadLetters()).map(({ requestId }) => requestId)).toContain(job);
    expect(await ended("ann", { prompt: "fine" })).toBeUndefined();
  });

  it("is listed for operators, who lift the refusal", async () => {
    const { quarantines } = await test.client.admin<{ quarantines: object[] }>(
      "GET",
      "/v1/engines/quarantines",
    );
    expect(quarantines).toEqual([
      {
        endpoint_id: STUB,
        version: VERSION.version,
        owner: "malice",
        input_digest: null,
        error_type: "engine_crash_limit",
        message: expect.stringContaining(`${OF_OWNER_MAX} times within an hour`),
        seconds_left: expect.any(Number),
      },
    ]);
    const lift = { endpoint_id: STUB, version: VERSION.version, owner: "malice" };
    expect(await test.client.admin("POST", "/v1/engines/quarantines/lift", lift)).toEqual({
      lifted: OF_OWNER_MAX,
    });
    expect(await test.client.admin("GET", "/v1/engines/quarantines")).toMatchObject({ quarantines: [] });
    await expect.poll(() => ended("malice", { prompt: "fine" })).toBeUndefined();
  });
});

describe("a request on an engine that another owner's request crashes", () => {
  it("is tried again and ends well", async () => {
    await reset();
    const input = { fail: "hang", fail_attempts: 1, prompt: "innocent" };
    const { request_id: innocent } = await test.client.submit(STUB, input);
    for await (const { status } of test.client.follow(STUB, innocent)) if (status === "IN_PROGRESS") break;
    expect(await ended("mallory", { fail: "crash", prompt: "beside" })).toBe("input_quarantined");
    expect(await endOf(innocent)).toBeUndefined();
    expect(await test.record(innocent)).toMatchObject({ attempts: 2 });
    // It has come to its end, so its input is no suspect any more. No request waits for the note of that.
    const suspects = () => test.sql`SELECT DISTINCT owner_id FROM engine_crashes WHERE NOT cleared`;
    await expect.poll(suspects).toEqual([{ owner_id: "mallory" }]);
  });
});

describe("a model whose engine several owners crash", () => {
  it("is unhealthy, and serves again by itself", async () => {
    await reset();
    for (const owner of ["ann", "bob", "eve"])
      expect(await ended(owner, { fail: "crash", prompt: owner }, NO_RETRY)).toBe("runner_disconnected");
    expect(await ended("zoe", { prompt: "patient" })).toBeUndefined();
    await expect.poll(engine).toMatchObject({ state: "ready", polled: true, failures: 0 });
  });
});
