import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { EngineListener } from "../../../core/engines/engine.ts";
import type { JsonObject } from "../../../core/json/json.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import { loadRegistry } from "../../../registry/registry.ts";
import { ENGINE_PROGRAMS, type EngineProgram, nodeProgram } from "../process/engine-programs.ts";
import { EnginePool } from "./engine-pool.ts";
import { STUB_VERSION } from "./stub-version.fixture.ts";

const stub: ModelVersion = { ...STUB_VERSION, slots: 64 };

const pools: EnginePool[] = [];
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool[Symbol.asyncDispose]();
});

function setUp(
  change: Partial<ModelVersion> = {},
  programs: Record<string, EngineProgram> = ENGINE_PROGRAMS,
) {
  const model = { ...stub, ...change };
  const folder = mkdtempSync(join(tmpdir(), "pool-"));
  const lines: string[] = [];
  const pool = new EnginePool({
    findModel: (endpoint, version) =>
      endpoint === model.endpoint && version === model.version ? model : undefined,
    programs,
    folder,
    workerName: "worker-1",
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  pools.push(pool);
  const run = (
    input: JsonObject,
    { signal = new AbortController().signal, listener = {}, attempt = 1, ownerId = "ann" }: RunOptions = {},
  ) =>
    pool.run(
      { requestId: "r", ownerId, attempt, endpoint: model.endpoint, version: model.version, input },
      { ...silent, ...listener },
      signal,
    );
  return { pool, folder, lines, run };
}

interface RunOptions {
  signal?: AbortSignal;
  listener?: Partial<EngineListener>;
  attempt?: number;
  ownerId?: string;
}

const silent: EngineListener = {
  started: () => {},
  log: () => {},
  progress: () => {},
  artifact: async (_head, chunks) => {
    for await (const _ of chunks);
  },
};

/** A program that serves nothing; its source is given. */
function fakeEngine(source: string): Record<string, EngineProgram> {
  const file = join(mkdtempSync(join(tmpdir(), "engine-")), "main.mjs");
  writeFileSync(file, source);
  return { stub: nodeProgram(file) };
}

const alive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe("engine pool", () => {
  it("drops a model: its engine ends, it is no longer listed, and it can be loaded again", async () => {
    const { run, pool } = setUp();
    await run({});
    const [{ pid } = { pid: undefined }] = pool.list();
    await pool.drop(stub);
    expect(pool.list()).toEqual([]);
    await expect.poll(() => alive(pid as number)).toBe(false);
    await pool.drop(stub);
    expect(await run({ prompt: "again" })).toMatchObject({ output: { echo: "again" } });
  });

  it("drops a model while a request waits: hands the request back and starts no engine for it", async () => {
    const { run, pool, lines } = setUp({ slots: 1 });
    await run({});
    const running = expect(run({ delay_ms: 60_000, steps: 600 })).rejects.toMatchObject({
      code: "runner_disconnected",
    });
    const waiting = expect(run({})).rejects.toMatchObject({ code: "runner_disconnected" });
    await pool.drop(stub);
    await Promise.all([running, waiting]);
    expect(pool.list()).toEqual([]);
    expect(lines.filter((line) => line.startsWith("INFO Loaded"))).toHaveLength(1);
  });

  it("runs a request: started, progress, artifact, output", async () => {
    const { run, pool } = setUp();
    const seen: string[] = [];
    const hash = createHash("sha256");
    let announced = "";
    const { output, inferenceMs } = await run(
      { payload: { a: 1 }, seed: 7, steps: 3, delay_ms: 30, artifact_bytes: 700_000 },
      {
        listener: {
          started: (worker) => seen.push(`started ${worker}`),
          progress: (step, steps) => seen.push(`progress ${step}/${steps}`),
          artifact: async (head, chunks) => {
            seen.push(`artifact ${head.index} ${head.bytes}`);
            announced = head.sha256;
            for await (const chunk of chunks) hash.update(chunk);
          },
        },
      },
    );
    expect(seen).toEqual([
      "started worker-1",
      "progress 1/3",
      "progress 2/3",
      "progress 3/3",
      "artifact 0 700000",
    ]);
    expect(hash.digest("hex")).toBe(announced);
    expect(output).toEqual({ echo: { a: 1 }, attempt: 1, seed: 7, file: { $artifact: 0 } });
    expect(inferenceMs).toBeGreaterThanOrEqual(29);
    expect(pool.list()).toMatchObject([
      { endpoint: "tempera/stub", state: "ready", running: 0, waiting: 0, failures: 0 },
    ]);
  });

  it("skips the part of an artifact that a listener does not read", async () => {
    const { run } = setUp();
    const listener = { artifact: async () => {} };
    expect((await run({ artifact_bytes: 3_000_000 }, { listener })).output).toMatchObject({
      file: { $artifact: 0 },
    });
  });

  it("rejects with what the listener throws when it cannot take an artifact", async () => {
    const { run } = setUp();
    const listener = {
      artifact: () => Promise.reject(Object.assign(new Error("full"), { code: "store_unavailable" })),
    };
    await expect(run({ artifact_bytes: 3_000_000 }, { listener })).rejects.toMatchObject({
      code: "store_unavailable",
    });
    expect((await run({})).output).toMatchObject({ attempt: 1 });
  });

  it("shares one load among concurrent runs and `warm`", async () => {
    const { run, pool } = setUp();
    const [one, two] = await Promise.all([run({ payload: 1 }), run({ payload: 2 }), pool.warm(stub)]);
    expect([one.output.echo, two.output.echo]).toEqual([1, 2]);
    expect(pool.list()).toHaveLength(1);
  });

  it("fails all runs of a dead engine with runner_disconnected, then starts another", async () => {
    const { run, pool } = setUp();
    await run({});
    const before = pool.list()[0]?.pid;
    const other = run({ delay_ms: 5000 });
    const otherFails = expect(other).rejects.toMatchObject({
      code: "runner_disconnected",
      message: "The engine was ended by SIGKILL",
    });
    await expect(run({ fail: "crash", delay_ms: 20 })).rejects.toMatchObject({ code: "runner_disconnected" });
    await otherFails;
    expect((await run({ fail: "crash", fail_attempts: 1 }, { attempt: 2 })).output).toMatchObject({
      attempt: 2,
    });
    expect(pool.list()[0]?.pid).not.toBe(before);
  });

  it("passes errors of an engine on with code, message and faults", async () => {
    const { run } = setUp();
    await expect(run({ fail: "error" })).rejects.toMatchObject({
      code: "runner_server_error",
      message: "The stub was asked to fail.",
    });
    await expect(run({ fail: "invalid" })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "fail"] }],
    });
    await expect(run({ delay_ms: -1 })).rejects.toMatchObject({
      code: "input_invalid",
      faults: [{ loc: ["body", "delay_ms"] }],
    });
  });

  it("cancels a run at once, and the engine is free again", async () => {
    const { run } = setUp({ slots: 1 });
    await run({});
    const controller = new AbortController();
    const running = run({ delay_ms: 60_000, steps: 600 }, { signal: controller.signal });
    const fate = expect(running).rejects.toMatchObject({ code: "client_cancelled" });
    await sleep(50);
    const cancelledMs = performance.now();
    controller.abort();
    await fate;
    await run({});
    expect(performance.now() - cancelledMs).toBeLessThan(300);
  });

  it("lets runs beyond `slots` wait, and cancels a waiting one", async () => {
    const { run, pool } = setUp({ slots: 1 });
    await pool.warm(stub);
    const controller = new AbortController();
    const first = run({ delay_ms: 200 });
    const second = run({ payload: "second" }, { signal: controller.signal });
    const third = run({ payload: "third" });
    expect(pool.list()).toMatchObject([{ running: 1, waiting: 2 }]);
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: "client_cancelled" });
    expect((await third).output.echo).toBe("third");
    await first;
    expect(pool.list()).toMatchObject([{ running: 0, waiting: 0 }]);
  });

  it("reports the last line of stderr when an engine cannot load", async () => {
    const { run, pool, lines } = setUp(
      {},
      fakeEngine('console.error("the device is on fire"); process.exit(3);'),
    );
    await expect(run({})).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message: "The engine of tempera/stub 1.0.0 exited with code 3: the device is on fire",
    });
    expect(lines).toContain("INFO the device is on fire");
    expect(pool.list()).toMatchObject([{ state: "stopped", failures: 1 }]);
  });

  it("leaves no unhandled rejection when a load fails whose request was cancelled as it began", async () => {
    const { run, pool } = setUp({}, fakeEngine("process.exit(3);"));
    const controller = new AbortController();
    const rejections: unknown[] = [];
    const record = (reason: unknown) => rejections.push(reason);
    process.on("unhandledRejection", record);
    const failed = new Promise<void>((resolve) => {
      pool.onChange(() => {
        const [status] = pool.list();
        if (status?.state === "loading") controller.abort();
        if (status?.failures === 1) resolve();
      });
    });
    const running = run({}, { signal: controller.signal });
    await expect(running).rejects.toMatchObject({ code: "client_cancelled" });
    await failed;
    // A rejection that nobody handles is announced before the next turn of the event loop.
    await sleep(0);
    process.off("unhandledRejection", record);
    expect(rejections).toEqual([]);
  });

  it("delays each start of an engine that keeps failing longer than the one before", async () => {
    const { run } = setUp({}, fakeEngine("process.exit(3);"));
    const tookMs: number[] = [];
    for (let i = 0; i < 3; i++) {
      const sinceMs = performance.now();
      await expect(run({})).rejects.toMatchObject({ code: "runner_scheduling_failure" });
      tookMs.push(performance.now() - sinceMs);
    }
    // At least the delay; the time that a process takes to fail depends on the machine.
    expect(tookMs[1]).toBeGreaterThan(240);
    expect(tookMs[2]).toBeGreaterThan(490);
  });

  it("delays a start no longer when the clock is set back", async () => {
    const { run } = setUp({}, fakeEngine("process.exit(3);"));
    await expect(run({})).rejects.toMatchObject({ code: "runner_scheduling_failure" });
    const now = Date.now;
    const clock = vi.spyOn(Date, "now").mockImplementation(() => now() - 3_600_000);
    await expect(run({})).rejects.toMatchObject({ code: "runner_scheduling_failure" });
    clock.mockRestore();
  });

  it("gives up an engine that is not up within loadMs, and one that has no such runner", async () => {
    const { run } = setUp(
      { timeouts: { ...stub.timeouts, loadMs: 800 } },
      fakeEngine("setInterval(() => {}, 1000);"),
    );
    await expect(run({})).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message: expect.stringContaining("did not start in time"),
    });
    const other = setUp({ runner: "text-to-image" });
    await expect(other.run({})).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message: 'The engine of tempera/stub 1.0.0 could not load: This engine has no runner "text-to-image".',
    });
  });

  it("refuses an unknown model and an unknown engine with runner_scheduling_failure", async () => {
    const { pool, run } = setUp({}, {});
    await expect(run({})).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message: expect.stringContaining('no engine "stub"'),
    });
    const signal = new AbortController().signal;
    const unknown = {
      requestId: "r",
      ownerId: "ann",
      attempt: 1,
      endpoint: "no/model",
      version: "1.0.0",
      input: {},
    };
    await expect(pool.run(unknown, silent, signal)).rejects.toMatchObject({
      code: "runner_scheduling_failure",
    });
  });

  it("ends an engine that has become silent", async () => {
    const { run, pool, lines } = setUp({ timeouts: { ...stub.timeouts, heartbeatMs: 300 } });
    const running = run({ delay_ms: 60_000 });
    const fate = expect(running).rejects.toMatchObject({ code: "runner_disconnected" });
    while (pool.list()[0]?.state !== "ready") await sleep(20);
    await sleep(50);
    process.kill(pool.list()[0]?.pid ?? 0, "SIGSTOP");
    await fate;
    expect(lines.join("\n")).toContain("does not answer");
  });

  it("ends its engines at disposal, also one that still loads, and fails what runs", async () => {
    const { run, pool, folder } = setUp();
    await pool.warm(stub);
    const pid = pool.list()[0]?.pid ?? 0;
    const fate = expect(run({ delay_ms: 60_000 })).rejects.toMatchObject({ code: "runner_disconnected" });
    await pool[Symbol.asyncDispose]();
    await fate;
    expect(alive(pid)).toBe(false);
    expect(() => readdirSync(folder)).toThrow("ENOENT");

    const other = setUp();
    const loading = expect(other.run({})).rejects.toMatchObject({ code: "runner_disconnected" });
    await sleep(20);
    await other.pool[Symbol.asyncDispose]();
    await loading;
  });
});

/** Makes a pool of several models, 300 MiB each by default, all served by the stub. */
function setUpMany(
  models: Record<string, Partial<ModelVersion>>,
  budgetMiB?: number,
  programs: Record<string, EngineProgram> = ENGINE_PROGRAMS,
) {
  const lines: string[] = [];
  const pool = new EnginePool({
    findModel: (endpoint, version) => {
      const change = models[endpoint];
      return change && version === stub.version
        ? { ...stub, memoryMiB: 300, ...change, endpoint }
        : undefined;
    },
    programs,
    folder: mkdtempSync(join(tmpdir(), "pool-")),
    workerName: "worker-1",
    log: (level, message, { endpoint }) => lines.push(`${level} ${endpoint} ${message}`),
    ...(budgetMiB !== undefined && { budgetMiB }),
  });
  pools.push(pool);
  let requests = 0;
  const run = (endpoint: string, input: JsonObject = {}, signal = new AbortController().signal) =>
    pool.run(
      { requestId: `r${requests++}`, ownerId: "ann", attempt: 1, endpoint, version: stub.version, input },
      silent,
      signal,
    );
  const status = (endpoint: string) => pool.list().find((each) => each.endpoint === endpoint);
  const states = () => Object.fromEntries(pool.list().map(({ endpoint, state }) => [endpoint, state]));
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      await new Promise<void>((changed) => {
        const stop = pool.onChange(() => {
          stop();
          changed();
        });
      });
    }
  };
  return { pool, lines, run, status, states, until };
}

describe("engines within the device's memory", () => {
  it("evicts the least recently used idle engine, never a busy one, and waits until it is gone", async () => {
    const { run, status, states } = setUpMany({ "t/a": {}, "t/b": {}, "t/c": {} }, 700);
    await run("t/a");
    await run("t/b");
    const pid = status("t/a")?.pid ?? 0;
    await run("t/c");
    expect(states()).toEqual({ "t/a": "stopped", "t/b": "ready", "t/c": "ready" });
    expect(alive(pid)).toBe(false);

    const long = run("t/b", { delay_ms: 1500 });
    await run("t/c");
    // b was used before c but is busy.
    await run("t/a");
    expect(states()).toEqual({ "t/a": "ready", "t/b": "ready", "t/c": "stopped" });
    await long;
  });

  it("lets runs wait in order while every engine is busy, and a cancelled one leaves at once", async () => {
    const { pool, run, states, until } = setUpMany({ "t/a": {}, "t/b": {}, "t/c": {} }, 500);
    await pool.warm({ endpoint: "t/a", version: stub.version });
    const ended: string[] = [];
    const first = run("t/a", { delay_ms: 600 }).then(() => ended.push("a"));
    const second = run("t/b", { delay_ms: 10 }).then(() => ended.push("b"));
    const leaving = new AbortController();
    const third = expect(run("t/c", {}, leaving.signal)).rejects.toMatchObject({ code: "client_cancelled" });
    await until(() => states()["t/b"] === "loading");
    expect(states()["t/a"]).toBe("ready");
    leaving.abort();
    await third;
    expect(ended).toEqual([]);
    await Promise.all([first, second]);
    expect(ended).toEqual(["a", "b"]);
  });

  it("evicts a pinned engine only when the others are not enough", async () => {
    const { pool, run, states } = setUpMany(
      { "t/pinned": { pinned: true }, "t/plain": {}, "t/other": {}, "t/large": { memoryMiB: 650 } },
      700,
    );
    await pool.warm({ endpoint: "t/pinned", version: stub.version });
    await run("t/plain");
    await run("t/other");
    expect(states()).toMatchObject({ "t/pinned": "ready", "t/plain": "stopped" });
    await run("t/large");
    expect(states()).toMatchObject({ "t/pinned": "stopped", "t/other": "stopped", "t/large": "ready" });
  });

  it("refuses a model larger than the whole budget in one line with the remedy", async () => {
    const { pool, run } = setUpMany({ "t/huge": { memoryMiB: 900 } }, 700);
    const refusal = {
      code: "runner_scheduling_failure",
      message:
        "t/huge 1.0.0 needs 900 MiB and this GPU worker has 700 MiB for engines: " +
        "serve it on a larger device, or raise TEMPERA_WORKER_MEMORY_MIB.",
    };
    expect(() => pool.admit({ endpoint: "t/huge", version: stub.version })).toThrow(
      expect.objectContaining(refusal),
    );
    await expect(run("t/huge")).rejects.toMatchObject(refusal);
  });

  it("counts what an engine really holds when that is more than the manifest declares", async () => {
    const probe = setUpMany({ "t/a": {} });
    await probe.run("t/a");
    const holds = probe.status("t/a")?.memoryMiB ?? 0;
    expect(holds).toBeGreaterThan(20);
    const { run, states, until, lines } = setUpMany(
      { "t/a": { memoryMiB: 1 }, "t/b": { memoryMiB: 1 } },
      Math.round(holds * 1.5),
    );
    await run("t/a");
    await run("t/b");
    await until(() => states()["t/a"] === "stopped");
    expect(states()).toEqual({ "t/a": "stopped", "t/b": "ready" });
    expect(
      lines.filter((line) =>
        /^WARN t\/a The engine holds \d+ MiB, and the manifest declares memoryMiB: 1\. Correct the/.test(
          line,
        ),
      ),
    ).toHaveLength(1);
  });
});

describe("an engine that crashes by itself", () => {
  it("counts loads that die: after three of them no engine is started", async () => {
    const { run, status, lines } = setUpMany(
      { "t/a": {} },
      undefined,
      fakeEngine('console.error("no such device"); process.exit(3);'),
    );
    for (let i = 0; i < 3; i++)
      await expect(run("t/a")).rejects.toMatchObject({ code: "runner_scheduling_failure" });
    expect(status("t/a")).toMatchObject({
      state: "unhealthy",
      failures: 3,
      lastFailure: expect.stringContaining("no such device"),
    });
    await expect(run("t/a")).rejects.toMatchObject({
      message: expect.stringContaining("is unhealthy on worker-1"),
    });
    expect(lines.filter((line) => line.includes("no such device"))).toHaveLength(3);
    expect(lines.filter((line) => line.includes("Unhealthy after 3 crashes"))).toHaveLength(1);
  });

  it("counts an engine that is killed while idle, but not one that was evicted", async () => {
    const { run, status, states, until } = setUpMany({ "t/a": {}, "t/b": {} }, 500);
    await run("t/a");
    await run("t/b");
    expect(status("t/a")).toMatchObject({ state: "stopped", failures: 0 });
    process.kill(status("t/b")?.pid ?? 0, "SIGKILL");
    await until(() => states()["t/b"] === "stopped");
    expect(status("t/b")).toMatchObject({ failures: 1 });
  });
});

describe("a device that the engine cannot use", () => {
  it("fails the load in one line with the remedy", async () => {
    const project = resolve(import.meta.dirname, "../../../..");
    const registry = await loadRegistry({
      modelsFolder: join(project, "models"),
      schemasFolder: join(project, "schemas"),
    });
    const model = registry.route("fal-ai/qwen-image")?.model as ModelVersion;
    const pool = new EnginePool({
      findModel: () => model,
      programs: ENGINE_PROGRAMS,
      folder: mkdtempSync(join(tmpdir(), "pool-")),
      workerName: "worker-1",
      log: () => {},
      device: "cuda:99",
    });
    pools.push(pool);
    await expect(pool.warm(model)).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message: expect.stringMatching(
        new RegExp(
          /^The engine of fal-ai\/qwen-image \S+ could not load: [^\n]*/.source +
            /cuda:99 (needs|cannot be used)[^\n]*TEMPERA_WORKER_DEVICE=cpu\.$/.source,
        ),
      ),
    });
    expect(pool.list()).toMatchObject([{ state: "stopped", failures: 1 }]);
  });
});
