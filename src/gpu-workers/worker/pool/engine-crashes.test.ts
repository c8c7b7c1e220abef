/** Engines that requests crash: who is blamed, who is refused, and who goes on. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { crashDigest } from "../../../core/engines/crash.ts";
import type { JsonObject } from "../../../core/json/json.ts";
import { ENGINE_PROGRAMS } from "../process/engine-programs.ts";
import { CrashLedger } from "./crash-ledger.ts";
import { EnginePool } from "./engine-pool.ts";
import { STUB_VERSION } from "./stub-version.fixture.ts";

const OF_OWNER_MAX = 4;
const LOST = { code: "runner_disconnected" };

const stub = STUB_VERSION;

const pools: EnginePool[] = [];
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool[Symbol.asyncDispose]();
});

interface RunOptions {
  attempt?: number;
  signal?: AbortSignal;
  started?: () => void;
}

function setUp({ trialDelayMs = 3_600_000, heartbeatMs = 3000 } = {}) {
  const model = { ...stub, timeouts: { ...stub.timeouts, heartbeatMs } };
  const crashes = new CrashLedger({ ofOwnerMax: OF_OWNER_MAX, warn: () => {} });
  const pool = new EnginePool({
    findModel: () => model,
    programs: ENGINE_PROGRAMS,
    folder: mkdtempSync(join(tmpdir(), "pool-")),
    workerName: "worker-1",
    log: () => {},
    crashes,
    trialDelayMs,
  });
  pools.push(pool);
  let requests = 0;
  const run = (ownerId: string, input: JsonObject, options: RunOptions = {}) =>
    pool.run(
      {
        requestId: `r${++requests}`,
        ownerId,
        attempt: options.attempt ?? 1,
        endpoint: model.endpoint,
        version: model.version,
        input,
      },
      {
        started: options.started ?? (() => {}),
        log: () => {},
        progress: () => {},
        artifact: async () => {},
      },
      options.signal ?? new AbortController().signal,
    );
  /** Begins a run. Resolves when the engine works on it; `end` settles as the run does. */
  const begin = async (ownerId: string, input: JsonObject) => {
    const controller = new AbortController();
    let end: Promise<unknown> = Promise.resolve();
    await new Promise<void>((resolve, reject) => {
      end = run(ownerId, input, { started: () => resolve(), signal: controller.signal });
      end.catch(reject);
    });
    return { end, cancel: () => controller.abort() };
  };
  const status = () => pool.list()[0];
  const treatmentOf = (ownerId: string, input: JsonObject) =>
    crashes.treatmentOf(model, { ownerId, digest: () => crashDigest({ input }) });
  const until = async (condition: () => boolean) => {
    while (!condition())
      await new Promise<void>((changed) => {
        const stop = pool.onChange(() => {
          stop();
          changed();
        });
      });
  };
  return { pool, run, begin, status, treatmentOf, until };
}

const crash = (prompt: string): JsonObject => ({ fail: "crash", prompt });

describe("an input that crashes its engine", () => {
  it("is quarantined after the second time, for its owner alone, and the model stays available", async () => {
    const { run, status } = setUp();
    for (let i = 0; i < 2; i++) await expect(run("mallory", crash("x"))).rejects.toMatchObject(LOST);
    await expect(run("mallory", { ...crash("x"), seed: 7 })).rejects.toMatchObject({
      code: "input_quarantined",
      message: expect.stringContaining("in the requests r1 and r2. It is refused for 60 min"),
    });
    expect(status()).toMatchObject({ state: "stopped", failures: 1 });
    expect((await run("mallory", { prompt: "fine" })).output).toMatchObject({ echo: "fine" });
    expect((await run("ann", { prompt: "fine" })).output).toMatchObject({ echo: "fine" });
    await expect(run("ann", crash("x"))).rejects.toMatchObject(LOST);
  });

  it("is no longer a suspect once it has run to an end", async () => {
    const { run } = setUp();
    const flaky = { ...crash("x"), fail_attempts: 1 };
    for (let i = 0; i < 3; i++) {
      await expect(run("mallory", flaky)).rejects.toMatchObject(LOST);
      expect((await run("mallory", flaky, { attempt: 2 })).output).toMatchObject({ attempt: 2 });
    }
  });
});

describe("an owner whose inputs crash engines", () => {
  it("takes the model out of rotation for nobody, and is refused after so many crashes", async () => {
    const { run, status } = setUp();
    for (let i = 0; i < OF_OWNER_MAX; i++)
      await expect(run("mallory", crash(`x${i}`))).rejects.toMatchObject(LOST);
    expect(status()).toMatchObject({ state: "stopped", failures: 1 });
    await expect(run("mallory", { prompt: "fine" })).rejects.toMatchObject({
      code: "engine_crash_limit",
      retryAfterMs: expect.any(Number),
    });
    expect((await run("ann", { prompt: "fine" })).output).toMatchObject({ echo: "fine" });
  });

  it("is found although it cancels its requests while their engine hangs", async () => {
    const { begin, run, status, until } = setUp({ heartbeatMs: 300 });
    for (let i = 0; i < 3; i++) {
      const { end, cancel } = await begin("mallory", { fail: "hang", prompt: `x${i}` });
      process.kill(status()?.pid ?? 0, "SIGSTOP");
      cancel();
      await expect(end).rejects.toMatchObject({ code: "client_cancelled" });
      await until(() => status()?.state === "stopped");
    }
    expect(status()).toMatchObject({ failures: 1 });
    expect((await run("ann", { prompt: "fine" })).output).toMatchObject({ echo: "fine" });
  });
});

describe("requests that were on an engine when another one crashed it", () => {
  it("are tried alone next, and not blamed", async () => {
    const { run, begin, status } = setUp();
    const innocent = { fail: "hang", fail_attempts: 1, prompt: "innocent" };
    const { end } = await begin("ann", innocent);
    const lost = expect(end).rejects.toMatchObject(LOST);
    await expect(run("mallory", crash("x"))).rejects.toMatchObject(LOST);
    await lost;
    expect(status()).toMatchObject({ failures: 0 });

    // Each of the two has the engine for itself, so it is plain who crashes it.
    const neighbour = await begin("bob", { fail: "hang" });
    const again = run("ann", innocent, { attempt: 2 });
    const guilty = expect(run("mallory", crash("x"))).rejects.toMatchObject(LOST);
    const other = run("bob", { prompt: "behind" });
    await expect.poll(() => status()).toMatchObject({ running: 4 });
    neighbour.cancel();
    expect((await again).output).toMatchObject({ echo: "innocent" });
    await guilty;
    expect((await other).output).toMatchObject({ echo: "behind" });
    expect((await run("ann", innocent, { attempt: 2 })).output).toMatchObject({ echo: "innocent" });
  });
});

describe("a request that was cancelled just before another one crashed the engine", () => {
  it("is no suspect, and no excuse for ever", async () => {
    const { run, begin, status, treatmentOf } = setUp();
    const [cancelled, crashing] = [
      { fail: "hang", prompt: "a" },
      { fail: "hang", fail_attempts: 1, prompt: "b" },
    ];
    for (const apart of [false, true]) {
      const ann = await begin("ann", cancelled);
      const bob = await begin("bob", crashing);
      const lost = expect(bob.end).rejects.toMatchObject(LOST);
      ann.cancel();
      await expect(ann.end).rejects.toMatchObject({ code: "client_cancelled" });
      process.kill(status()?.pid ?? 0, "SIGKILL");
      await lost;
      expect(treatmentOf("ann", cancelled)).toEqual({ alone: false, apart });
      expect(treatmentOf("bob", crashing)).toEqual({ alone: true, apart: true });
      expect((await run("bob", crashing, { attempt: 2 })).output).toMatchObject({ echo: "b" });
    }
  });
});

describe("a model whose engine several owners crash", () => {
  it("is unhealthy, and one request tries it after a pause", async () => {
    const { run, status, until } = setUp({ trialDelayMs: 1 });
    for (const owner of ["ann", "bob", "eve"])
      await expect(run(owner, crash("x"))).rejects.toMatchObject(LOST);
    expect(status()).toMatchObject({ state: "unhealthy", failures: 3 });
    await until(() => status()?.isOnTrial === true);
    const trial = run("zoe", { prompt: "trial" });
    await expect(run("yan", {})).rejects.toMatchObject({ code: "runner_scheduling_failure" });
    await trial;
    expect(status()).toMatchObject({ state: "ready", failures: 0, isOnTrial: false });
  });

  it("stays unhealthy until an operator's reset, which what ran before does not undo", async () => {
    const { pool, run, begin, status } = setUp();
    for (const owner of ["ann", "bob"]) await expect(run(owner, crash("x"))).rejects.toMatchObject(LOST);
    const { end } = await begin("eve", { fail: "hang" });
    const lost = expect(end).rejects.toMatchObject(LOST);
    pool.reset(stub);
    process.kill(status()?.pid ?? 0, "SIGKILL");
    await lost;
    expect(status()).toMatchObject({ state: "stopped", failures: 0 });

    for (const owner of ["ann", "bob", "eve"])
      await expect(run(owner, crash("x"))).rejects.toMatchObject(LOST);
    await expect(run("zoe", {})).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message:
        "tempera/stub 1.0.0 is unhealthy on worker-1 (The engine was ended by SIGKILL). It is tried again " +
        "by itself; or fix the cause, then run: tempera engines reset tempera/stub",
    });
    pool.reset(stub);
    expect(status()).toMatchObject({ state: "stopped", failures: 0 });
    expect(status()).not.toHaveProperty("lastFailure");
    expect((await run("zoe", { prompt: "fine" })).output).toMatchObject({ echo: "fine" });
    // Its crash counts from zero again: an input that crashed once before may crash once more.
    await expect(run("ann", crash("x"))).rejects.toMatchObject(LOST);
    await expect(run("ann", crash("x"))).rejects.toMatchObject(LOST);
  });
});
