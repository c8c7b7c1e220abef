/**
 * The suite that checks an engine against `engine.proto`. It starts the process as the engine pool does,
 * isolated, and calls it over its socket, so it fits an engine in any language. A test file of an engine is
 * one call of `describeEngine`.
 */
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isErrorCode } from "../../../src/core/errors/catalogue.ts";
import type { JsonObject } from "../../../src/core/json/json.ts";
import { LIMITS } from "../../../src/core/limits.ts";
import { decodeFrame, encodeFrame } from "../../../src/fal/msgpack.ts";
import {
  type Capabilities,
  CHUNK_BYTES_MAX,
  connectEngine,
  type EngineClient,
  type HealthReply,
  type LoadEvent,
  type LoadRequest,
  type RunEvent,
} from "../../../src/gpu-workers/contract/engine-protocol.ts";
import { openCage } from "../../../src/gpu-workers/worker/cage/cage.ts";
import type { EngineProgram } from "../../../src/gpu-workers/worker/process/engine-programs.ts";
import { killEngine, spawnEngine } from "../../../src/gpu-workers/worker/process/spawn-engine.ts";

export interface EngineUnderTest {
  program: EngineProgram;
  load: LoadRequest;
  inputs: {
    /** An input that takes a moment, produces at least one file, and gives the same bytes every time. */
    quick: JsonObject;
    /** Fields that give `quick` at least one preview; absent when the engine has no previews. */
    previewed?: JsonObject;
    /** Fields that give `quick` a checkpoint after each step; absent when the engine has no checkpoints. */
    checkpointed?: JsonObject;
    /** An input that takes at least two seconds, in many steps. */
    slow: JsonObject;
    /** An input that is refused as `input_invalid`. */
    bad: JsonObject;
  };
  /** Inputs of a realtime session; absent when the engine has none. */
  session?: {
    /** An input that is answered in a moment, with at least one frame. */
    quick: JsonObject;
    /** An input that takes at least two seconds. */
    slow: JsonObject;
    /** An input that is refused as `input_invalid`. */
    bad: JsonObject;
  };
}

interface Started {
  child: ChildProcess;
  client: EngineClient;
  exited: Promise<string>;
  stop(): Promise<void>;
}

interface Ran {
  events: RunEvent[];
  files: { bytes: Buffer; sha256: string; index: number }[];
  checkpoints: { step: number; bytes: Buffer }[];
}

interface Options {
  previews?: boolean;
  checkpoints?: boolean;
  /** The checkpoint to resume from. */
  checkpoint?: Buffer;
}

/** What isolates the engines: whatever this host permits, as in a GPU worker that is set up by default. */
const cage = openCage("best-effort");

export function describeEngine(name: string, { program, load, inputs, session }: EngineUnderTest): void {
  const start = async (): Promise<Started> => {
    const folder = await mkdtemp(join(tmpdir(), "engine-"));
    const socket = join(folder, "engine.sock");
    const spawned = await spawnEngine({
      model: { folder: load.folder, memoryMiB: 4096 },
      program,
      socket,
      device: "cpu",
      cage: await cage,
      onLine: (_, line) => process.stderr.write(`${line}\n`),
    });
    const { child, exited } = spawned;
    const client = connectEngine(socket);
    await new Promise<void>((resolve, reject) =>
      client.waitForReady(Date.now() + 20_000, (error) => (error ? reject(error) : resolve())),
    );
    const stop = async () => {
      client.close();
      killEngine(spawned);
      await exited;
      await rm(folder, { recursive: true, force: true });
    };
    return { child, client, exited, stop };
  };

  const loadEngine = async (client: EngineClient, request: LoadRequest = load): Promise<LoadEvent[]> => {
    const events: LoadEvent[] = [];
    const call: AsyncIterable<LoadEvent> = client.load(request, { deadline: Date.now() + 60_000 });
    for await (const event of call) events.push(event);
    return events;
  };

  const describeCall = (client: EngineClient) =>
    new Promise<Capabilities>((resolve, reject) =>
      client.describe({}, { deadline: Date.now() + 5000 }, (error, reply) =>
        error || !reply ? reject(error) : resolve(reply),
      ),
    );

  const healthCall = (client: EngineClient) =>
    new Promise<HealthReply>((resolve, reject) =>
      client.health({}, { deadline: Date.now() + 5000 }, (error, reply) =>
        error || !reply ? reject(error) : resolve(reply),
      ),
    );

  const open = (
    client: EngineClient,
    inputJson: string,
    { previews = false, checkpoints = false, checkpoint }: Options = {},
  ) => {
    const call = client.run();
    const announced = checkpoint && { step: 0, bytes: checkpoint.length };
    const attempt = checkpoint ? 2 : 1;
    call.write({
      start: {
        requestId: "request",
        attempt,
        inputJson,
        previews,
        checkpoints,
        ...(announced && { checkpoint: announced }),
      },
    });
    for (let offset = 0; offset < (checkpoint?.length ?? 0); offset += CHUNK_BYTES_MAX) {
      const data = checkpoint?.subarray(offset, offset + CHUNK_BYTES_MAX) ?? new Uint8Array();
      call.write({ checkpointChunk: { data } });
    }
    call.end();
    return call;
  };

  const run = async (
    client: EngineClient,
    input: JsonObject | string,
    options: Options = {},
  ): Promise<Ran> => {
    const ran: Ran = { events: [], files: [], checkpoints: [] };
    let left = 0;
    let state = 0;
    const call: AsyncIterable<RunEvent> = open(
      client,
      typeof input === "string" ? input : JSON.stringify(input),
      options,
    );
    for await (const event of call) {
      if (state > 0) {
        // Nothing may come between a checkpoint's head and its last chunk.
        expect(event.event).toBe("checkpointChunk");
        const data = event.checkpointChunk?.data ?? new Uint8Array();
        const checkpoint = ran.checkpoints.at(-1);
        expect(data.length).toBeGreaterThan(0);
        expect(data.length).toBeLessThanOrEqual(CHUNK_BYTES_MAX);
        state -= data.length;
        expect(state).toBeGreaterThanOrEqual(0);
        if (checkpoint) checkpoint.bytes = Buffer.concat([checkpoint.bytes, data]);
        continue;
      }
      if (left > 0) {
        // Nothing may come between a file's head and its last chunk.
        expect(event.event).toBe("chunk");
        const { index, data } = event.chunk ?? { index: -1, data: new Uint8Array() };
        const file = ran.files.at(-1);
        expect(index).toBe(file?.index);
        expect(data.length).toBeGreaterThan(0);
        expect(data.length).toBeLessThanOrEqual(CHUNK_BYTES_MAX);
        left -= data.length;
        expect(left).toBeGreaterThanOrEqual(0);
        if (file) file.bytes = Buffer.concat([file.bytes, data]);
        continue;
      }
      ran.events.push(event);
      if (event.artifact) {
        left = event.artifact.bytes;
        ran.files.push({
          index: event.artifact.index,
          sha256: event.artifact.sha256,
          bytes: Buffer.alloc(0),
        });
      }
      if (event.checkpoint) {
        state = event.checkpoint.bytes;
        ran.checkpoints.push({ step: event.checkpoint.step, bytes: Buffer.alloc(0) });
      }
    }
    expect([left, state]).toEqual([0, 0]);
    return ran;
  };

  const last = ({ events }: Ran): RunEvent | undefined => events.at(-1);

  describe(`engine contract: ${name}`, () => {
    let engine: Started;
    let capabilities: Capabilities;
    let loading: LoadEvent[];
    beforeAll(async () => {
      engine = await start();
      capabilities = await describeCall(engine.client);
      loading = await loadEngine(engine.client);
    }, 60_000);
    afterAll(() => engine?.stop());

    it("describes itself before anything is loaded", () => {
      expect(capabilities.runners).toContain(load.runner);
      expect(capabilities.maxBatch).toBeGreaterThanOrEqual(1);
      expect(capabilities.artifactTypes.every((type) => type.includes("/"))).toBe(true);
      expect(capabilities.memory.totalMib).toBeGreaterThan(0);
      expect(capabilities.memory.usedMib).toBeGreaterThan(0);
    });

    it("loads with progress that never falls, and sends `loaded` last", async () => {
      const fractions = loading.flatMap(({ progress }) => (progress ? [progress.fraction] : []));
      expect(fractions).toEqual([...fractions].sort((a, b) => a - b));
      expect(fractions.every((fraction) => fraction >= 0 && fraction <= 1)).toBe(true);
      expect(loading.at(-1)?.loaded?.memory.usedMib).toBeGreaterThan(0);
      expect(await healthCall(engine.client)).toMatchObject({ loaded: true, running: 0, waiting: 0 });
    });

    it("refuses a second load", async () => {
      await expect(loadEngine(engine.client)).rejects.toMatchObject({ code: 9 });
    });

    it("sends `started`, rising progress, whole files, and last an output that names them", async () => {
      const ran = await run(engine.client, inputs.quick);
      expect(ran.events[0]?.event).toBe("started");
      expect(ran.events.filter(({ started }) => started)).toHaveLength(1);
      const progress = ran.events.flatMap((event) => (event.progress ? [event.progress] : []));
      const steps = progress[0]?.steps;
      progress.forEach(({ step, steps: total }, i) => {
        expect(total).toBe(steps);
        expect(step).toBeGreaterThan(progress[i - 1]?.step ?? 0);
        expect(step).toBeLessThanOrEqual(total);
      });
      expect(progress.at(-1)?.step).toBe(steps);

      expect(ran.files.length).toBeGreaterThan(0);
      ran.files.forEach(({ index, bytes, sha256 }, i) => {
        expect(index).toBe(i);
        expect(createHash("sha256").update(bytes).digest("hex")).toBe(sha256);
      });
      const heads = ran.events.flatMap(({ artifact }) => (artifact ? [artifact] : []));
      expect(
        heads.every(
          ({ contentType, fileName }) =>
            capabilities.artifactTypes.includes(contentType) && /^[\w.-]+$/.test(fileName),
        ),
      ).toBe(true);

      const output = last(ran)?.output;
      expect(output?.inferenceMs).toBeGreaterThanOrEqual(0);
      const named = [...(output?.json ?? "").matchAll(/"\$artifact":(\d+)/g)].map(([, index]) =>
        Number(index),
      );
      expect(named.sort()).toEqual(ran.files.map(({ index }) => index));
    });

    it("waits for the start of a call that was opened early, and holds nothing for it", async () => {
      const call = engine.client.run();
      // The call was opened first on the same connection, so it has arrived when these are answered.
      const between = await run(engine.client, inputs.quick);
      expect((await healthCall(engine.client)).running).toBe(0);
      call.write({ start: { requestId: "late", attempt: 1, inputJson: JSON.stringify(inputs.quick) } });
      call.end();
      const events: RunEvent[] = [];
      for await (const event of call as AsyncIterable<RunEvent>) events.push(event);
      expect(events[0]?.event).toBe("started");
      expect(events.at(-1)?.event).toBe("output");
      expect(between.events.at(-1)?.event).toBe("output");
    });

    it("gives the same bytes for the same input", async () => {
      const [one, two] = [await run(engine.client, inputs.quick), await run(engine.client, inputs.quick)];
      expect(one.files.map(({ sha256 }) => sha256)).toEqual(two.files.map(({ sha256 }) => sha256));
    });

    it("sends small previews of finished steps on request only, with the same files", async () => {
      const input = { ...inputs.quick, ...inputs.previewed };
      const [requested, plain] = [
        await run(engine.client, input, { previews: true }),
        await run(engine.client, input),
      ];
      expect(plain.events.filter(({ preview }) => preview)).toEqual([]);
      expect(requested.files.map(({ sha256 }) => sha256)).toEqual(plain.files.map(({ sha256 }) => sha256));
      const steps = requested.events.findLast(({ progress }) => progress)?.progress?.steps ?? 0;
      const previews = requested.events.flatMap(({ preview }) => (preview ? [preview] : []));
      // An engine with previews names an input for them; one without sends none.
      expect(previews.length > 0).toBe(inputs.previewed !== undefined);
      for (const { step, contentType, data } of previews) {
        expect(step).toBeGreaterThan(0);
        expect(step).toBeLessThanOrEqual(steps);
        expect(contentType).toMatch(/^image\//);
        expect(data.length).toBeGreaterThan(0);
        expect(data.length).toBeLessThanOrEqual(LIMITS.previewBytesMax);
      }
    });

    it("refuses a bad input with an error and goes on", async () => {
      const error = last(await run(engine.client, inputs.bad))?.error;
      expect(error?.code).toBe("input_invalid");
      const faults = JSON.parse(error?.faultsJson ?? "") as { loc: unknown[]; msg: string; type: string }[];
      expect(faults.length).toBeGreaterThan(0);
      expect(faults.every(({ loc, msg, type }) => loc[0] === "body" && msg !== "" && type !== "")).toBe(true);
      expect(last(await run(engine.client, inputs.quick))?.event).toBe("output");
    });

    it.each(["{", "[]", "null", '"text"', ""])(
      "answers %j, which is not an input, with an error",
      async (json) => {
        const error = last(await run(engine.client, json))?.error;
        expect(isErrorCode(error?.code)).toBe(true);
        expect(error?.message).not.toBe("");
      },
    );

    it("stops within 300 ms of a cancel and is free for the next run", async () => {
      const call = open(engine.client, JSON.stringify(inputs.slow));
      let begun = () => {};
      const progressed = new Promise<void>((resolve) => {
        begun = resolve;
      });
      call.on("data", ({ progress }: RunEvent) => progress && begun());
      call.on("error", () => {});
      await progressed;
      const cancelledMs = performance.now();
      call.cancel();
      while ((await healthCall(engine.client)).running > 0) await sleep(5);
      expect(performance.now() - cancelledMs).toBeLessThan(300);
      expect(last(await run(engine.client, inputs.quick))?.event).toBe("output");
    });

    it("answers health while it works", async () => {
      const call = open(engine.client, JSON.stringify(inputs.slow));
      call.on("error", () => {});
      await new Promise<void>((resolve) =>
        call.on("data", ({ progress }: RunEvent) => progress && resolve()),
      );
      const requestedMs = performance.now();
      expect(await healthCall(engine.client)).toMatchObject({ loaded: true, running: 1 });
      expect(performance.now() - requestedMs).toBeLessThan(1000);
      call.cancel();
    });

    it("runs as many requests at once as it has slots, and lets the others wait", async () => {
      const count = Math.min(load.slots, 8) + 2;
      const calls = Array.from({ length: load.slots + 1 }, () =>
        open(engine.client, JSON.stringify(inputs.slow)),
      );
      for (const call of calls) {
        call.on("error", () => {});
        call.resume();
      }
      const settled = ({ running, waiting }: HealthReply) => running === load.slots && waiting === 1;
      let health = await healthCall(engine.client);
      for (
        const untilMs = Date.now() + 1500;
        !settled(health) && Date.now() < untilMs;
        health = await healthCall(engine.client)
      )
        await sleep(10);
      expect(health).toMatchObject({ running: load.slots, waiting: 1 });
      for (const call of calls) call.cancel();
      const ran = await Promise.all(Array.from({ length: count }, () => run(engine.client, inputs.quick)));
      expect(ran.map((one) => last(one)?.event)).toEqual(Array(count).fill("output"));
      expect(new Set(ran.map(({ files }) => files[0]?.sha256)).size).toBe(1);
    });
  });

  describe(`engine checkpoints: ${name}`, () => {
    const input = { ...inputs.quick, ...inputs.checkpointed };
    const digests = ({ files }: Ran) => files.map(({ sha256 }) => sha256);
    const steps = ({ events }: Ran) => events.flatMap(({ progress }) => (progress ? [progress.step] : []));
    const lines = ({ events }: Ran, level: string) =>
      events.flatMap(({ log }) => (log?.level === level ? [log.message] : []));
    const everyStep = { ...load, digest: "a".repeat(64), checkpoint: { everySteps: 1, everySeconds: 0 } };
    let engine: Started;
    let plain: Ran;
    let kept: Ran;
    beforeAll(async () => {
      engine = await start();
      await loadEngine(engine.client, everyStep);
      plain = await run(engine.client, input);
      kept = await run(engine.client, input, { checkpoints: true });
    }, 60_000);
    afterAll(() => engine?.stop());

    it("declares whether it hands out checkpoints, and does so only on request", async () => {
      expect((await describeCall(engine.client)).supportsCheckpoint).toBe(inputs.checkpointed !== undefined);
      expect(plain.checkpoints).toEqual([]);
      expect(digests(kept)).toEqual(digests(plain));
      expect(kept.checkpoints.length > 0).toBe(inputs.checkpointed !== undefined);
      kept.checkpoints.forEach(({ step, bytes }, i) => {
        expect(step).toBeGreaterThan(kept.checkpoints[i - 1]?.step ?? 0);
        expect(step).toBeLessThanOrEqual(steps(plain).at(-1) ?? 0);
        expect(bytes.length).toBeGreaterThan(0);
      });
    });

    const bad: [string, () => Buffer][] = [
      ["that is not a checkpoint", () => Buffer.from("state: fine, thank you")],
      ["that is empty", () => Buffer.alloc(0)],
      ["of zeros", () => Buffer.alloc(600_000)],
    ];
    const startsOver = (ran: Ran) => {
      expect(last(ran)?.event).toBe("output");
      expect(digests(ran)).toEqual(digests(plain));
      expect([steps(ran)[0], steps(ran).at(-1)]).toEqual([steps(plain)[0], steps(plain).at(-1)]);
      expect(lines(ran, "WARN").length).toBe(lines(plain, "WARN").length + 1);
    };

    it.each(bad)("ignores a checkpoint %s, with a warning", async (_, bytes) => {
      startsOver(await run(engine.client, input, { checkpoint: bytes() }));
    });

    if (!inputs.checkpointed) return;

    it("resumes from each checkpoint with the same files, and logs from which step", async () => {
      for (const { step, bytes } of kept.checkpoints) {
        const rest = await run(engine.client, input, { checkpoint: bytes, checkpoints: true });
        expect(digests(rest)).toEqual(digests(plain));
        expect(steps(rest)[0]).toBeGreaterThan(step);
        expect(steps(rest).at(-1)).toBe(steps(plain).at(-1));
        expect(lines(rest, "INFO").some((line) => new RegExp(`\\bstep ${step}\\b`).test(line))).toBe(true);
        expect(rest.checkpoints.every((later) => later.step > step)).toBe(true);
      }
    });

    it("resumes in another process", async () => {
      const other = await start();
      try {
        await loadEngine(other.client, everyStep);
        const { step = 0, bytes } = kept.checkpoints[0] ?? {};
        const rest = await run(other.client, input, bytes ? { checkpoint: bytes } : {});
        expect(digests(rest)).toEqual(digests(plain));
        expect(steps(rest)[0]).toBeGreaterThan(step);
      } finally {
        await other.stop();
      }
    }, 60_000);

    it("ignores a checkpoint that is cut short, changed, or of another input", async () => {
      const { bytes = Buffer.alloc(0) } = kept.checkpoints[0] ?? {};
      startsOver(await run(engine.client, input, { checkpoint: bytes.subarray(0, bytes.length - 1) }));
      const changed = Buffer.from(bytes);
      changed[bytes.length - 1] = (changed[bytes.length - 1] ?? 0) ^ 1;
      startsOver(await run(engine.client, input, { checkpoint: changed }));
      const { checkpoints } = await run(engine.client, { ...input, seed: 4711 }, { checkpoints: true });
      startsOver(await run(engine.client, input, { checkpoint: checkpoints[0]?.bytes ?? Buffer.alloc(0) }));
    });

    it("ignores a checkpoint of another version of the model", async () => {
      const other = await start();
      try {
        await loadEngine(other.client, { ...everyStep, digest: "b".repeat(64) });
        startsOver(
          await run(other.client, input, { checkpoint: kept.checkpoints[0]?.bytes ?? Buffer.alloc(0) }),
        );
      } finally {
        await other.stop();
      }
    }, 60_000);
  });

  describe(`engine sessions: ${name}`, () => {
    let engine: Started;
    beforeAll(async () => {
      engine = await start();
      await loadEngine(engine.client);
    }, 60_000);
    afterAll(() => engine?.stop());

    const openSession = (path = "/realtime", raw = false) => {
      const call = engine.client.run();
      call.on("error", () => {});
      call.write({ start: { requestId: "session", attempt: 1, inputJson: "{}", session: { path, raw } } });
      const events = (call as AsyncIterable<RunEvent>)[Symbol.asyncIterator]();
      const next = async (): Promise<RunEvent> => {
        const { done, value } = await events.next();
        if (done) throw new Error("the call ended");
        return value;
      };
      const frame = (sequence: number, input: JsonObject) =>
        call.write({ frame: { sequence, payload: encodeFrame(input) } });
      return { call, next, frame, ended: async () => (await events.next()).done === true };
    };

    it("declares whether it has sessions, and refuses them with an error when it has none", async () => {
      expect((await describeCall(engine.client)).supportsRealtime === true).toBe(session !== undefined);
      if (session) return;
      const { next, ended } = openSession();
      expect(isErrorCode((await next()).error?.code)).toBe(true);
      expect(await ended()).toBe(true);
    });

    if (!session) return;

    it("answers frames in order, each until its frame_done, and ends with `output`", async () => {
      const { call, next, frame, ended } = openSession();
      expect((await next()).event).toBe("started");
      expect(await healthCall(engine.client)).toMatchObject({ running: 1 });
      for (const sequence of [3, 4, 9]) frame(sequence, session.quick);
      call.end();
      for (const sequence of [3, 4, 9]) {
        let event = await next();
        let outputs = 0;
        for (; event.frame; event = await next()) {
          expect(event.frame.sequence).toBe(sequence);
          expect(decodeFrame(event.frame.payload)).toBeTypeOf("object");
          outputs++;
        }
        expect(outputs).toBeGreaterThan(0);
        expect(event.frameDone).toMatchObject({ sequence, error: null });
      }
      expect((await next()).output?.json).toBe("{}");
      expect(await ended()).toBe(true);
      expect(await healthCall(engine.client)).toMatchObject({ running: 0 });
    });

    it("fails a bad frame alone", async () => {
      const { call, next, frame } = openSession();
      expect((await next()).event).toBe("started");
      frame(1, session.bad);
      call.write({ frame: { sequence: 2, payload: new Uint8Array([0xc1]) } });
      for (const sequence of [1, 2])
        expect((await next()).frameDone).toMatchObject({ sequence, error: { code: "input_invalid" } });
      frame(3, session.quick);
      expect((await next()).frame?.sequence).toBe(3);
      expect((await next()).frameDone?.error).toBeNull();
      call.end();
      expect((await next()).event).toBe("output");
    });

    it("stops within 300 ms of a cancel in the middle of a frame, and releases its slot", async () => {
      const { call, next, frame } = openSession();
      expect((await next()).event).toBe("started");
      frame(1, session.slow);
      await expect.poll(async () => (await healthCall(engine.client)).running).toBe(1);
      const cancelledMs = performance.now();
      call.cancel();
      while ((await healthCall(engine.client)).running > 0) await sleep(5);
      expect(performance.now() - cancelledMs).toBeLessThan(300);
    });

    it("keeps frames that arrive while it waits for a slot", async () => {
      const holders = Array.from({ length: load.slots }, () => openSession());
      for (const { next } of holders) expect((await next()).event).toBe("started");
      const waiting = openSession();
      waiting.frame(1, session.quick);
      await expect.poll(async () => (await healthCall(engine.client)).waiting).toBe(1);
      for (const { call } of holders) call.cancel();
      expect((await waiting.next()).event).toBe("started");
      expect((await waiting.next()).frame?.sequence).toBe(1);
      waiting.call.cancel();
    });
  });

  describe(`engine process: ${name}`, () => {
    it("refuses a run before the load, and a load without a runner for it", async () => {
      const engine = await start();
      try {
        await expect(run(engine.client, inputs.quick)).rejects.toMatchObject({ code: 9 });
        await expect(loadEngine(engine.client, { ...load, runner: "no-such-runner" })).rejects.toMatchObject({
          code: 9,
          details: expect.stringContaining("no-such-runner"),
        });
        expect(await healthCall(engine.client)).toMatchObject({ loaded: false });
      } finally {
        await engine.stop();
      }
    }, 30_000);

    it("exits when its parent exits, also in the middle of a run", async () => {
      const engine = await start();
      try {
        await loadEngine(engine.client);
        const call = open(engine.client, JSON.stringify(inputs.slow));
        call.on("error", () => {});
        await new Promise<void>((resolve) =>
          call.on("data", ({ progress }: RunEvent) => progress && resolve()),
        );
        engine.child.stdin?.end();
        expect(await Promise.race([engine.exited.then(() => "gone"), sleep(2000, "still there")])).toBe(
          "gone",
        );
      } finally {
        await engine.stop();
      }
    }, 30_000);
  });
}
