/**
 * Engines that hang or break the contract: the error of the run, another engine for the next run, and other
 * runs unharmed.
 */
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import { crashDigest } from "../../../core/engines/crash.ts";
import { type EngineListener, type EngineRun, RunTurnedAway } from "../../../core/engines/engine.ts";
import type { JsonObject } from "../../../core/json/json.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import { ENGINE_PROGRAMS, type EngineProgram, nodeProgram } from "../process/engine-programs.ts";
import { CrashLedger } from "./crash-ledger.ts";
import { EnginePool } from "./engine-pool.ts";
import { STUB_VERSION } from "./stub-version.fixture.ts";

const stub: ModelVersion = {
  ...STUB_VERSION,
  timeouts: { ...STUB_VERSION.timeouts, silenceMs: 500 },
};

const protocol = pathToFileURL(join(import.meta.dirname, "../../contract/engine-protocol.ts")).href;

/**
 * Reports the `memory` of its last input. Sends the `events` of its input, byte for byte when one is a string
 * of hex; `stay` keeps the call open. The input of a session is its path.
 */
const ODD_ENGINE = `
import * as grpc from ${JSON.stringify(import.meta.resolve("@grpc/grpc-js"))};
import { ENGINE_SERVICE } from ${JSON.stringify(protocol)};
const { Run } = ENGINE_SERVICE;
const serialize = (event) => (Buffer.isBuffer(event) ? event : Run.responseSerialize(event));
let memory = { totalMib: 1, usedMib: 1 };
const server = new (grpc.default ?? grpc).Server();
server.addService({ ...ENGINE_SERVICE, Run: { ...Run, responseSerialize: serialize } }, {
  Describe: (_, reply) => reply(null, {}),
  Health: (_, reply) => reply(null, { loaded: true, memory }),
  Load: (call) => { call.write({ loaded: { memory: { totalMib: 1, usedMib: 1 } } }); call.end(); },
  Run: (call) => call.on("data", ({ start }) => {
    const { events, stay, memory: last } = JSON.parse(start.session?.path || start.inputJson);
    memory = last ?? memory;
    call.write({ started: {} });
    for (const event of events) call.write(typeof event === "string" ? Buffer.from(event, "hex") : event);
    if (!stay) call.end();
  }),
});
process.stdin.on("end", () => process.exit(0)).resume();
const credentials = (grpc.default ?? grpc).ServerCredentials.createInsecure();
server.bindAsync("unix:" + process.argv.at(-1), credentials, () => {});
`;

function oddProgram(): Record<string, EngineProgram> {
  const file = join(mkdtempSync(join(tmpdir(), "engine-")), "main.mjs");
  writeFileSync(file, ODD_ENGINE);
  return { stub: nodeProgram(file) };
}

const pools: EnginePool[] = [];
afterEach(async () => {
  for (const pool of pools.splice(0)) await pool[Symbol.asyncDispose]();
});

function setUp(
  programs: Record<string, EngineProgram> = ENGINE_PROGRAMS,
  change: Partial<ModelVersion["timeouts"]> = {},
  budgetMiB = Number.POSITIVE_INFINITY,
) {
  const model = { ...stub, timeouts: { ...stub.timeouts, ...change } };
  const lines: string[] = [];
  const crashes = new CrashLedger({ ofOwnerMax: 100, warn: () => {} });
  const pool = new EnginePool({
    crashes,
    budgetMiB,
    findModel: (endpoint) => ({ ...model, endpoint }),
    programs,
    folder: mkdtempSync(join(tmpdir(), "pool-")),
    workerName: "worker-1",
    log: (level, message) => lines.push(`${level} ${message}`),
  });
  pools.push(pool);
  const { endpoint, version } = model;
  const run = (input: JsonObject, listener: Partial<EngineListener> = {}, change: Partial<EngineRun> = {}) =>
    pool.run(
      { ...{ requestId: "r", ownerId: "ann", attempt: 1, endpoint, version }, input, ...change },
      {
        started: () => {},
        log: () => {},
        progress: () => {},
        artifact: async (_, chunks) => {
          for await (const chunk of chunks) expect(chunk.length).toBeGreaterThan(0);
        },
        ...listener,
      },
      new AbortController().signal,
    );
  const hold = (input: JsonObject) =>
    pool.hold(
      {
        sessionId: "s",
        ownerId: "ann",
        attempt: 1,
        endpoint: model.endpoint,
        version: model.version,
        path: JSON.stringify(input),
        raw: false,
      },
      noFrames(),
      { started: () => {}, output: async () => {}, settled: async () => {} },
      new AbortController().signal,
    );
  const treatmentOf = (input: JsonObject) =>
    crashes.treatmentOf(model, { ownerId: "ann", digest: () => crashDigest({ input }) });
  return { pool, lines, run, hold, treatmentOf, pid: () => pool.list()[0]?.pid };
}

async function* noFrames(): AsyncGenerator<never> {}

describe("an engine that hangs", () => {
  it("fails a run without events for silenceMs, and gives the next run another engine", async () => {
    const { run, lines, pid } = setUp();
    await run({});
    const first = pid();
    const other = run({ delay_ms: 60_000, steps: 600 }).catch((error: unknown) => error);
    await expect(run({ fail: "hang" })).rejects.toMatchObject({
      code: "runner_connection_timeout",
      message: "The engine sent nothing about this run for 1 s.",
    });
    // Other runs on it fail at once, to be tried again.
    expect(await other).toMatchObject({ code: "runner_disconnected" });
    expect(lines.filter((line) => line.startsWith("ERROR The engine sent nothing"))).toHaveLength(1);
    expect((await run({ prompt: "after" })).output).toMatchObject({ echo: "after" });
    expect(pid()).not.toBe(first);
  });

  it("hangs twice in one request alone: the input is quarantined, the model stays available", async () => {
    const { pool, run } = setUp();
    for (let attempt = 1; attempt <= 2; attempt++) {
      await expect(run({ fail: "hang" })).rejects.toMatchObject({ code: "runner_connection_timeout" });
      expect(pool.list()).toMatchObject([{ state: "stopped", failures: 1 }]);
    }
    await expect(run({ fail: "hang" })).rejects.toMatchObject({ code: "input_quarantined" });
    expect((await run({ prompt: "after" })).output).toMatchObject({ echo: "after" });
  });

  it("is left alone while a long run sends events, and while a listener is slow", async () => {
    const { run, pid } = setUp();
    await run({});
    const first = pid();
    const slowly = async (_: unknown, chunks: AsyncIterable<Uint8Array>) => {
      for await (const _chunk of chunks);
      await new Promise((resolve) => setTimeout(resolve, 900));
    };
    await run({ delay_ms: 1500, steps: 10, artifact_bytes: 10 }, { artifact: slowly });
    expect(pid()).toBe(first);
  });

  it("is ended after two missed heartbeats, and the next run has another engine", async () => {
    const { run, pid } = setUp(ENGINE_PROGRAMS, { heartbeatMs: 400, silenceMs: 60_000 });
    await run({});
    const first = pid() ?? 0;
    process.kill(first, "SIGSTOP");
    await expect(run({})).rejects.toMatchObject({ code: "runner_disconnected" });
    expect((await run({ prompt: "after" })).output).toMatchObject({ echo: "after" });
    expect(pid()).not.toBe(first);
  });
});

describe("an engine that breaks the contract", () => {
  it.each<[string, unknown[]]>([
    ["bytes that are no message", ["ffffffffff"]],
    ["an output that is not JSON", [{ output: { json: "{oops", inferenceMs: 1 } }]],
    ["an output that is no object", [{ output: { json: "[1]", inferenceMs: 1 } }]],
    ["faults that are not JSON", [{ error: { code: "input_invalid", message: "x", faultsJson: "{" } }]],
    ["an end without an output", []],
    [
      "a file that breaks off",
      [{ artifact: { index: 0, bytes: 10, contentType: "a/b", fileName: "a" } }, { output: { json: "{}" } }],
    ],
    [
      "more of a file than it announced",
      [
        { artifact: { index: 0, bytes: 1, contentType: "a/b", fileName: "a" } },
        { chunk: { index: 0, data: Buffer.alloc(5).toString("base64") } },
      ],
    ],
    [
      "a checkpoint that breaks off",
      [{ checkpoint: { step: 1, bytes: 10 } }, { progress: { step: 2, steps: 3 } }],
    ],
    ["a checkpoint that is much too large", [{ checkpoint: { step: 1, bytes: 2 ** 40 } }]],
  ])("sends %s: runner_incomplete_response, and another engine for the next run", async (_, events) => {
    const { run, lines, pid } = setUp(oddProgram());
    await run({ events: [{ output: { json: "{}" } }] as never });
    const first = pid();
    await expect(run({ events: events as never })).rejects.toMatchObject({
      code: "runner_incomplete_response",
    });
    await expect
      .poll(() => lines.some((line) => /^ERROR The engine was ended by SIGKILL/.test(line)))
      .toBe(true);
    expect((await run({ events: [{ output: { json: '{"fine":true}' } }] as never })).output).toEqual({
      fine: true,
    });
    expect(pid()).not.toBe(first);
  });

  const notJson = { code: "input_invalid", message: "x", faultsJson: "{" };
  it.each<[string, unknown[]]>([
    ["an error whose faults are not JSON", [{ error: notJson }]],
    ["an input's error whose faults are not JSON", [{ frameDone: { sequence: 1, error: notJson } }]],
    ["bytes that are no message", ["ff"]],
    ["nothing more", []],
  ])("sends %s in a session: the same, and another engine", async (_, events) => {
    const { run, hold, lines, pid } = setUp(oddProgram());
    await run({ events: [{ output: { json: "{}" } }] as never });
    const first = pid();
    await expect(hold({ events: events as never, stay: events.length > 0 })).rejects.toMatchObject({
      code: "runner_incomplete_response",
    });
    await expect
      .poll(() => lines.some((line) => /^ERROR The engine was ended by SIGKILL/.test(line)))
      .toBe(true);
    await run({ events: [{ output: { json: "{}" } }] as never });
    expect(pid()).not.toBe(first);
  });

  it("keeps its engine after an error with an unknown code, which becomes runner_server_error", async () => {
    const { run, pid } = setUp(oddProgram());
    await run({ events: [{ output: { json: "{}" } }] as never });
    const first = pid();
    await expect(
      run({ events: [{ error: { code: "melted", message: "It melted.", faultsJson: "" } }] as never }),
    ).rejects.toMatchObject({
      code: "runner_server_error",
      message: "It melted.",
    });
    expect((await run({ events: [{ output: { json: "{}" } }] as never })).output).toEqual({});
    expect(pid()).toBe(first);
  });
});

describe("an engine whose device faults", () => {
  const message = "The device faulted: CUDA error: an illegal memory access was encountered.";
  const fault = (ofDevice: boolean) => ({ code: "runner_device_fault", message, faultsJson: "", ofDevice });
  const fine = { events: [{ output: { json: "{}" } }] as never };

  it("is ended, its other runs are lost, and an input that does it twice is quarantined", async () => {
    const { pool, run, lines, pid } = setUp(oddProgram());
    await run(fine);
    const first = pid();
    const faulty = { events: [{ error: fault(false) }] as never };
    const other = run({ events: [], stay: true }).catch((error: unknown) => error);
    await expect(run(faulty)).rejects.toMatchObject({ code: "runner_device_fault", message });
    expect(await other).toMatchObject({ code: "runner_disconnected" });
    expect(lines).toContain(`ERROR ${message} The engine is ended.`);
    await run(fine);
    expect(pid()).not.toBe(first);

    await expect(run(faulty)).rejects.toMatchObject({ code: "runner_device_fault" });
    await expect(run(faulty)).rejects.toMatchObject({ code: "input_quarantined" });
    expect(pool.list()).toMatchObject([{ failures: 1, lastFailure: message }]);
  });

  it("blames no input for a fault of the device itself, and takes the model out of rotation", async () => {
    const { pool, run, treatmentOf } = setUp(oddProgram());
    const innocent = { events: [{ error: fault(true) }] as never };
    const beside = { events: [], stay: true };
    for (let failures = 1; failures <= 3; failures++) {
      const other = run(beside).catch((error: unknown) => error);
      await expect(run(innocent)).rejects.toMatchObject({ code: "runner_device_fault" });
      expect(await other).toMatchObject({ code: "runner_disconnected" });
      expect(pool.list()).toMatchObject([{ failures }]);
    }
    for (const input of [innocent, beside])
      expect(treatmentOf(input)).toEqual({ alone: false, apart: false });
    expect(pool.list()).toMatchObject([{ state: "unhealthy", lastFailure: message }]);
    await expect(run(fine)).rejects.toMatchObject({ code: "runner_scheduling_failure" });
  });

  it("ends a session whose input it fails on, which is resumed on another engine", async () => {
    const { run, hold, pid } = setUp(oddProgram());
    await run(fine);
    const first = pid();
    const events = [{ frameDone: { sequence: 1, error: fault(false) } }] as never;
    await expect(hold({ events, stay: true })).rejects.toMatchObject({ code: "runner_device_fault" });
    await run(fine);
    expect(pid()).not.toBe(first);
  });
});

describe("an engine whose device has too little memory for a run", () => {
  const error = { code: "runner_out_of_memory", message: "cuda:0 has too little memory.", faultsJson: "" };
  const large = { events: [{ error }] as never };
  const fine = { events: [{ output: { json: "{}" } }] as never };

  it("stays, leaves the run to other workers first, and then tries it once more", async () => {
    const { pool, run, pid, treatmentOf } = setUp(oddProgram());
    await run(fine);
    const first = pid();
    await expect(run(large)).rejects.toMatchObject({ code: error.code });
    const again = () => run(large, {}, { attempt: 2 });
    for (let times = 1; times <= LIMITS.turnedAwayForMemoryMax; times++)
      await expect(again()).rejects.toThrow(RunTurnedAway);
    expect((await run(fine, {}, { requestId: "other", attempt: 2 })).output).toEqual({});
    await expect(again()).rejects.toMatchObject({ code: error.code });
    expect(pid()).toBe(first);
    expect(pool.list()).toMatchObject([{ state: "ready", failures: 0 }]);
    expect(treatmentOf(large)).toEqual({ alone: false, apart: false });
  });

  it("makes the pool unload the idle engines beside it, for the next attempt", async () => {
    const { pool, run, lines } = setUp(oddProgram());
    await run(fine, {}, { endpoint: "tempera/idle" });
    await run(fine);
    await expect(run(large)).rejects.toMatchObject({ code: error.code });
    expect(pool.list()).toMatchObject([
      { endpoint: "tempera/idle", state: "stopped" },
      { endpoint: "tempera/stub", state: "ready" },
    ]);
    expect(lines.some((line) => line.startsWith("INFO Unloaded because tempera/stub ran out"))).toBe(true);
  });
});

describe("an engine that needs more memory during a run than after its load", () => {
  const using = (peakMib: number) => ({
    events: [{ output: { json: "{}" } }] as never,
    memory: { totalMib: 1000, usedMib: 20, peakMib },
  });
  const heartbeatMs = 200;

  it("counts with its peak from then on, and idle engines beside it make room", async () => {
    const { pool, run, lines } = setUp(oddProgram(), { heartbeatMs }, 500);
    await run(using(0), {}, { endpoint: "tempera/idle" });
    await run(using(450));
    await expect
      .poll(() => pool.list())
      .toMatchObject([
        { endpoint: "tempera/idle", state: "stopped", needMiB: 100 },
        { endpoint: "tempera/stub", state: "ready", needMiB: 450 },
      ]);
    expect(lines.filter((line) => line.startsWith("WARN The engine holds 450 MiB"))).toHaveLength(1);
  });

  it("can be loaded again when its peak was beyond the budget", async () => {
    const { pool, run, pid } = setUp(oddProgram(), { heartbeatMs }, 500);
    await run(using(900));
    await expect.poll(() => pool.list()[0]?.needMiB).toBe(500);
    process.kill(pid() ?? 0, "SIGKILL");
    await expect.poll(() => pool.list()[0]?.state).toBe("stopped");
    expect((await run(using(900))).output).toEqual({});
  });
});
