import { createHash } from "node:crypto";
import { mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import type { EngineListener } from "../core/engine.ts";
import type { JsonObject } from "../core/json.ts";
import type { ModelVersion } from "../core/model.ts";
import { createEnginePool, type EnginePool } from "./engine-pool.ts";
import { ENGINE_PROGRAMS, type EngineProgram, nodeProgram } from "./engine-programs.ts";

const stub: ModelVersion = {
  endpoint: "tempera/stub",
  version: "1.0.0",
  digest: "0",
  title: "Stub",
  description: "",
  category: "test",
  runner: "stub",
  engine: "stub",
  folder: tmpdir(),
  parameters: {},
  restrictions: [],
  slots: 64,
  memoryMiB: 100,
  pinned: false,
  retry: { attemptsMax: 3, initialMs: 10, backoff: 2, maximumMs: 100 },
  timeouts: { heartbeatMs: 3000, runMs: 60_000, loadMs: 20_000 },
  schemas: { input: {}, output: {} },
};

const pools: EnginePool[] = [];
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool[Symbol.asyncDispose]();
});

function setUp(change: Partial<ModelVersion> = {}, programs: Record<string, EngineProgram> = ENGINE_PROGRAMS) {
  const model = { ...stub, ...change };
  const folder = mkdtempSync(join(tmpdir(), "pool-"));
  const lines: string[] = [];
  const pool = createEnginePool({
    findModel: (endpoint, version) => (endpoint === model.endpoint && version === model.version ? model : undefined),
    programs,
    folder,
    workerName: "worker-1",
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  pools.push(pool);
  const run = (input: JsonObject, { signal = new AbortController().signal, listener = {}, attempt = 1 }: RunOptions = {}) =>
    pool.run({ requestId: "r", attempt, endpoint: model.endpoint, version: model.version, input }, { ...silent, ...listener }, signal);
  return { pool, folder, lines, run };
}

interface RunOptions {
  signal?: AbortSignal;
  listener?: Partial<EngineListener>;
  attempt?: number;
}

const silent: EngineListener = {
  started: () => {},
  log: () => {},
  progress: () => {},
  artifact: async (_head, chunks) => {
    for await (const _ of chunks);
  },
};

/** A program that serves nothing: what it does is the text of the file. */
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
    expect(seen).toEqual(["started worker-1", "progress 1/3", "progress 2/3", "progress 3/3", "artifact 0 700000"]);
    expect(hash.digest("hex")).toBe(announced);
    expect(output).toEqual({ echo: { a: 1 }, attempt: 1, seed: 7, file: { $artifact: 0 } });
    expect(inferenceMs).toBeGreaterThanOrEqual(29);
    expect(pool.list()).toMatchObject([{ endpoint: "tempera/stub", state: "ready", running: 0, waiting: 0, failures: 0 }]);
  });

  it("reads away what a listener leaves of an artifact", async () => {
    const { run } = setUp();
    const listener = { artifact: async () => {} };
    expect((await run({ artifact_bytes: 3_000_000 }, { listener })).output).toMatchObject({ file: { $artifact: 0 } });
  });

  it("hands on what the listener throws when it cannot take an artifact", async () => {
    const { run } = setUp();
    const listener = { artifact: () => Promise.reject(Object.assign(new Error("full"), { code: "store_unavailable" })) };
    await expect(run({ artifact_bytes: 3_000_000 }, { listener })).rejects.toMatchObject({ code: "store_unavailable" });
    expect((await run({})).output).toMatchObject({ attempt: 1 });
  });

  it("shares one load among concurrent demands, and warm loads ahead", async () => {
    const { run, pool } = setUp();
    const [one, two] = await Promise.all([run({ payload: 1 }), run({ payload: 2 }), pool.warm(stub)]);
    expect([one.output.echo, two.output.echo]).toEqual([1, 2]);
    expect(pool.list()).toHaveLength(1);
  });

  it("says runner_disconnected to every run of an engine that dies, and starts another for the next", async () => {
    const { run, pool } = setUp();
    await run({});
    const before = pool.list()[0]?.pid;
    const beside = run({ delay_ms: 5000 });
    const fate = expect(beside).rejects.toMatchObject({ code: "runner_disconnected", message: "The engine was ended by SIGKILL" });
    await expect(run({ fail: "crash", delay_ms: 20 })).rejects.toMatchObject({ code: "runner_disconnected" });
    await fate;
    expect((await run({ fail: "crash", fail_attempts: 1 }, { attempt: 2 })).output).toMatchObject({ attempt: 2 });
    expect(pool.list()[0]?.pid).not.toBe(before);
  });

  it("passes on the errors of an engine with code, message and faults", async () => {
    const { run } = setUp();
    await expect(run({ fail: "error" })).rejects.toMatchObject({ code: "runner_server_error", message: "The stub was asked to fail." });
    await expect(run({ fail: "invalid" })).rejects.toMatchObject({ code: "input_invalid", faults: [{ loc: ["body", "fail"] }] });
    await expect(run({ delay_ms: -1 })).rejects.toMatchObject({ code: "input_invalid", faults: [{ loc: ["body", "delay_ms"] }] });
  });

  it("cancels a running run at once, and the engine is free again", async () => {
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

  it("keeps the runs over `slots` waiting, and a waiting one can be cancelled", async () => {
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

  it("says runner_scheduling_failure, with its last words, of an engine that cannot load", async () => {
    const { run, pool, lines } = setUp({}, fakeEngine('console.error("the device is on fire"); process.exit(3);'));
    await expect(run({})).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message: "The engine of tempera/stub 1.0.0 exited with code 3: the device is on fire",
    });
    expect(lines).toContain("ERROR the device is on fire");
    expect(pool.list()).toMatchObject([{ state: "stopped", failures: 1 }]);
  });

  it("pauses longer before each new start of an engine that keeps failing", async () => {
    const { run } = setUp({}, fakeEngine("process.exit(3);"));
    const tookMs: number[] = [];
    for (let i = 0; i < 3; i++) {
      const sinceMs = performance.now();
      await expect(run({})).rejects.toMatchObject({ code: "runner_scheduling_failure" });
      tookMs.push(performance.now() - sinceMs);
    }
    // At least the pause; how long a process takes to fail is the machine's affair.
    expect(tookMs[1]).toBeGreaterThan(240);
    expect(tookMs[2]).toBeGreaterThan(490);
  });

  it("gives up an engine that does not come up within loadMs, and one that is asked for an unknown runner", async () => {
    const { run } = setUp({ timeouts: { ...stub.timeouts, loadMs: 800 } }, fakeEngine("setInterval(() => {}, 1000);"));
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

  it("knows no model, no program: runner_scheduling_failure", async () => {
    const { pool, run } = setUp({}, {});
    await expect(run({})).rejects.toMatchObject({
      code: "runner_scheduling_failure",
      message: expect.stringContaining('no engine "stub"'),
    });
    const signal = new AbortController().signal;
    const unknown = { requestId: "r", attempt: 1, endpoint: "no/model", version: "1.0.0", input: {} };
    await expect(pool.run(unknown, silent, signal)).rejects.toMatchObject({ code: "runner_scheduling_failure" });
  });

  it("ends an engine that has gone silent", async () => {
    const { run, pool, lines } = setUp({ timeouts: { ...stub.timeouts, heartbeatMs: 300 } });
    const running = run({ delay_ms: 60_000 });
    const fate = expect(running).rejects.toMatchObject({ code: "runner_disconnected" });
    while (pool.list()[0]?.state !== "ready") await sleep(20);
    await sleep(50);
    process.kill(pool.list()[0]?.pid ?? 0, "SIGSTOP");
    await fate;
    expect(lines.join("\n")).toContain("does not answer");
  });

  it("dispose ends its engines, also one that still loads, and fails what runs", async () => {
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
