/**
 * Serves `engine.proto` for a runner written in TypeScript. Both built-in engines are a `Runner` and one call
 * of `serveEngine`.
 */
import { totalmem } from "node:os";
import * as grpc from "@grpc/grpc-js";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import type { InputFile } from "../../core/files/input-file.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { CheckpointPolicy } from "../../core/models/model.ts";
import {
  type CheckpointOwner,
  decodeCheckpoint,
  inputDigest,
  type RunState,
} from "../contract/checkpoint.ts";
import {
  type Capabilities,
  ENGINE_SERVICE,
  type LoadEvent,
  type LoadRequest,
  MESSAGE_LIMITS,
  type Memory,
  type RunEvent,
  type RunRequest,
  type RunStart,
} from "../contract/engine-protocol.ts";
import { createEmitter, type RunEmitter, type StreamingEmitter } from "./run-emitter.ts";
import { type RunnerSession, readFrames, type SessionRun, serveFrames } from "./session-server.ts";
import { createSlots } from "../worker/pool/slots.ts";

export interface RunnerLoad {
  endpoint: string;
  version: string;
  runner: string;
  folder: string;
  parameters: JsonObject;
}

export interface RunnerRun {
  requestId: string;
  attempt: number;
  input: JsonObject;
  /**
   * Files that the input names, fetched; `attachedFile` finds the one that a value of the input stands for.
   */
  files: readonly InputFile[];
  /** What an earlier attempt at this very input handed out, to go on from; checked. */
  resume?: RunState;
}

export type { RunEmitter };

/**
 * One engine's work. Errors are `TemperaError`s; anything else thrown by `run` is a `runner_server_error`.
 */
export interface Runner {
  describe(): Omit<Capabilities, "memory">;
  /** Called once. `progress` takes the share done, 0..1, and what was loaded. */
  load(load: RunnerLoad, progress: (fraction: number, says: string) => void): Promise<void>;
  /**
   * Must look at `signal` at least every 300 ms and reject when it is aborted; must yield to the event loop
   * as often.
   */
  run(
    run: RunnerRun,
    emit: StreamingEmitter,
    signal: AbortSignal,
  ): Promise<{ output: JsonObject; inferenceMs: number }>;
  /** Opens a realtime session; absent when the engine has none. The rules of `run` hold for each frame. */
  session?(session: RunnerSession): SessionRun | Promise<SessionRun>;
}

/** For a GPU worker that does not say: nothing is kept of a run that is soon repeated. */
const CHECKPOINT_POLICY: CheckpointPolicy = { everySteps: 0, everySeconds: 10 };

const memory = (): Memory => ({
  totalMib: Math.round(totalmem() / 2 ** 20),
  usedMib: Math.round(process.memoryUsage.rss() / 2 ** 20),
});

/**
 * Serves the runner on the socket named by the last argument, until the GPU worker goes away (stdin ends).
 */
export async function serveEngine(runner: Runner, socket: string = process.argv.at(-1) ?? ""): Promise<void> {
  const { maxBatch } = runner.describe();
  let slots = createSlots(maxBatch);
  let state: "empty" | "loading" | "loaded" = "empty";
  let model = "";
  let policy = CHECKPOINT_POLICY;

  const load = async (call: grpc.ServerWritableStream<LoadRequest, LoadEvent>) => {
    const fail = (message: string) =>
      call.emit("error", { code: grpc.status.FAILED_PRECONDITION, details: message });
    if (state !== "empty") return fail("This engine has its model version already.");
    state = "loading";
    try {
      const { parametersJson, slots: wanted, digest, checkpoint, ...rest } = call.request;
      if (!runner.describe().runners.includes(rest.runner))
        throw new Error(`This engine has no runner "${rest.runner}".`);
      model = digest || `${rest.endpoint}@${rest.version}`;
      policy = checkpoint ?? CHECKPOINT_POLICY;
      slots = createSlots(Math.max(1, Math.min(wanted || 1, maxBatch)));
      const parameters = JSON.parse(parametersJson || "{}") as JsonObject;
      await runner.load({ ...rest, parameters }, (fraction, says) =>
        call.write({ event: "progress", progress: { fraction, says } }),
      );
      state = "loaded";
      call.write({ event: "loaded", loaded: { memory: memory() } });
      call.end();
    } catch (error) {
      state = "empty";
      fail(error instanceof Error ? error.message : String(error));
    }
  };

  const run = (call: grpc.ServerDuplexStream<RunRequest, RunEvent>) => {
    const controller = new AbortController();
    let begun = false;
    call.on("cancelled", () => controller.abort(new TemperaError("client_cancelled")));
    call.on("error", () => controller.abort(new TemperaError("client_cancelled")));
    let start: RunStart | undefined;
    const chunks: Uint8Array[] = [];
    let missing = 0;
    const begin = (start: RunStart) => {
      begun = true;
      if (state !== "loaded")
        call.emit("error", { code: grpc.status.FAILED_PRECONDITION, details: "Nothing is loaded." });
      else if (start.session) void hold(call, start, start.session, controller.signal);
      else void answer(call, start, start.checkpoint ? Buffer.concat(chunks) : undefined, controller.signal);
    };
    call.on("data", (message: RunRequest) => {
      if (begun) return;
      if (message.start && !start) {
        start = message.start;
        missing = Math.min(start.checkpoint?.bytes ?? 0, LIMITS.checkpointBytesMax);
      } else if (message.checkpointChunk) {
        chunks.push(message.checkpointChunk.data);
        missing -= message.checkpointChunk.data.length;
      }
      if (start && missing <= 0) begin(start);
    });
    call.on("end", () => {
      if (begun) return;
      // A checkpoint that was cut short: the run will say so, and begin at its beginning.
      if (start) begin(start);
      else
        call.emit("error", {
          code: grpc.status.INVALID_ARGUMENT,
          details: "The call ended without a start.",
        });
    });
  };

  const answer = async (
    call: grpc.ServerDuplexStream<RunRequest, RunEvent>,
    start: RunStart,
    checkpoint: Buffer | undefined,
    signal: AbortSignal,
  ) => {
    const send = (event: RunEvent) => (signal.aborted ? true : call.write(event));
    let release: (() => void) | undefined;
    try {
      release = await slots.acquire(signal);
      send({ started: {} });
      const input = parseInput(start.inputJson);
      const files = start.files ?? [];
      const keeps = start.checkpoints === true && runner.describe().supportsCheckpoint;
      const owner: CheckpointOwner =
        keeps || checkpoint ? { model, input: inputDigest(start.inputJson, files) } : { model, input: "" };
      const said = checkpoint && readCheckpoint(checkpoint, owner, runner.describe().supportsCheckpoint);
      if (said) send({ log: said.log });
      const resume = said?.state;
      const emitter = createEmitter(
        { write: (event) => call.write(event), drained: (until) => drained(call, until) },
        {
          signal,
          previews: start.previews === true,
          ...(keeps && {
            checkpoints: { owner, policy, sinceStep: resume?.step ?? 0, sinceMs: performance.now() },
          }),
        },
      );
      const { output, inferenceMs } = await runner.run(
        { requestId: start.requestId, attempt: start.attempt, input, files, ...(resume && { resume }) },
        emitter,
        signal,
      );
      send({ output: { json: JSON.stringify(output), inferenceMs } });
    } catch (error) {
      const { code, message, faults } = errorInfo(error, "runner_server_error");
      send({ error: { code, message, faultsJson: faults ? JSON.stringify(faults) : "" } });
    } finally {
      release?.();
      call.end();
    }
  };

  const hold = async (
    call: grpc.ServerDuplexStream<RunRequest, RunEvent>,
    { requestId, attempt }: RunStart,
    { path, raw }: NonNullable<RunStart["session"]>,
    signal: AbortSignal,
  ) => {
    // Read from now on: frames may come before the session has its slot.
    const frames = readFrames(call, signal);
    const send = async (event: RunEvent): Promise<void> => {
      signal.throwIfAborted();
      if (!call.write(event)) await drained(call, signal);
    };
    let release: (() => void) | undefined;
    try {
      if (!runner.session)
        throw new TemperaError("runner_server_error", "This engine holds no realtime sessions.");
      release = await slots.acquire(signal);
      const session: RunnerSession = { sessionId: requestId, attempt, path, raw };
      const run = await runner.session(session);
      await send({ started: {} });
      await serveFrames(frames, session, run, send, signal);
      await send({ output: { json: "{}", inferenceMs: 0 } });
    } catch (error) {
      const { code, message, faults } = errorInfo(error, "runner_server_error");
      if (!signal.aborted)
        call.write({ error: { code, message, faultsJson: faults ? JSON.stringify(faults) : "" } });
    } finally {
      release?.();
      call.end();
    }
  };

  const server = new grpc.Server(MESSAGE_LIMITS);
  server.addService(ENGINE_SERVICE, {
    Describe: (_call: unknown, reply: grpc.sendUnaryData<Capabilities>) =>
      reply(null, { ...runner.describe(), supportsRealtime: runner.session !== undefined, memory: memory() }),
    Load: load,
    Run: run,
    Health: (_call: unknown, reply: grpc.sendUnaryData<object>) =>
      reply(null, {
        loaded: state === "loaded",
        running: slots.running,
        waiting: slots.waiting,
        memory: memory(),
      }),
  });
  exitWithParent();
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    ),
  );
}

function exitWithParent(): void {
  const leave = () => process.exit(0);
  process.stdin.on("end", leave).on("close", leave).on("error", leave).resume();
}

function parseInput(json: string): JsonObject {
  let input: unknown;
  try {
    input = JSON.parse(json);
  } catch {
    input = undefined;
  }
  if (typeof input === "object" && input !== null && !Array.isArray(input)) return input as JsonObject;
  const faults = [{ loc: ["body"], msg: "Input should be a valid dictionary", type: "dict_type" }];
  throw new TemperaError("input_invalid", "The input is not a JSON object.", { faults });
}

/** Resolves when the call takes more; rejects with the signal's reason when it aborts first. */
const drained = (call: grpc.ServerDuplexStream<RunRequest, RunEvent>, signal: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const onAbort = () => {
      call.off("drain", onDrain);
      reject(signal.reason);
    };
    const onDrain = () => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    };
    call.once("drain", onDrain);
    signal.addEventListener("abort", onAbort, { once: true });
  });

/** What a checkpoint holds, if it fits, and what the caller is told of it. */
function readCheckpoint(
  bytes: Buffer,
  owner: CheckpointOwner,
  supported: boolean,
): { state?: RunState; log: NonNullable<RunEvent["log"]> } {
  try {
    if (!supported) throw new Error("is nothing that this engine can go on from");
    const state = decodeCheckpoint(bytes, owner);
    return { state, log: { level: "INFO", message: `Going on from step ${state.step}.` } };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { log: { level: "WARN", message: `The checkpoint ${why}; starting from the beginning.` } };
  }
}
