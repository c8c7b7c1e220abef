/** Answers the calls of `engine.proto` for one runner. */
import { totalmem } from "node:os";
import * as grpc from "@grpc/grpc-js";
import { type Release, Semaphore } from "../../core/concurrency/semaphore.ts";
import { onAbort } from "../../core/concurrency/with-abort.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { CheckpointPolicy } from "../../core/models/model.ts";
import {
  type CheckpointOwner,
  decodeCheckpoint,
  inputDigest,
  type RunState,
} from "../contract/checkpoint.ts";
import type {
  Capabilities,
  HealthReply,
  LoadEvent,
  LoadRequest,
  Memory,
  RunEvent,
  RunRequest,
  RunStart,
} from "../contract/engine-protocol.ts";
import { errorMessage } from "./error-message.ts";
import { createEmitter } from "./run-emitter.ts";
import type { Runner } from "./runner.ts";
import { readFrames, serveFrames } from "./session-server.ts";

type LoadCall = grpc.ServerWritableStream<LoadRequest, LoadEvent>;
type RunCall = grpc.ServerDuplexStream<RunRequest, RunEvent>;

/**
 * Used when the GPU worker names no policy. A run that is repeated within seconds hands out no checkpoints.
 */
const DEFAULT_CHECKPOINT_POLICY: CheckpointPolicy = { everySteps: 0, everySeconds: 10 };

export class EngineService {
  readonly #runner: Runner;
  #state: "empty" | "loading" | "loaded" = "empty";
  #slots: Semaphore;
  /** Digest of the loaded model version, which checkpoints belong to. */
  #model = "";
  #policy = DEFAULT_CHECKPOINT_POLICY;

  constructor(runner: Runner) {
    this.#runner = runner;
    this.#slots = new Semaphore(runner.describe().maxBatch);
  }

  handlers(): grpc.UntypedServiceImplementation {
    return {
      Describe: (_call: unknown, reply: grpc.sendUnaryData<Capabilities>) => reply(null, this.#describe()),
      Load: (call: LoadCall) => void this.#load(call),
      Run: (call: RunCall) => this.#run(call),
      Health: (_call: unknown, reply: grpc.sendUnaryData<HealthReply>) => reply(null, this.#health()),
    };
  }

  #describe(): Capabilities {
    const supportsRealtime = this.#runner.session !== undefined;
    return { ...this.#runner.describe(), supportsRealtime, memory: currentMemory() };
  }

  #health(): HealthReply {
    const { running, waiting } = this.#slots;
    return { loaded: this.#state === "loaded", running, waiting, memory: currentMemory() };
  }

  async #load(call: LoadCall): Promise<void> {
    if (this.#state !== "empty") return refuse(call, "This engine has its model version already.");
    this.#state = "loading";
    try {
      const { parametersJson, slots, digest, checkpoint, ...load } = call.request;
      const { runners, maxBatch } = this.#runner.describe();
      if (!runners.includes(load.runner)) throw new Error(`This engine has no runner "${load.runner}".`);
      this.#model = digest || `${load.endpoint}@${load.version}`;
      this.#policy = checkpoint ?? DEFAULT_CHECKPOINT_POLICY;
      this.#slots = new Semaphore(Math.max(1, Math.min(slots || 1, maxBatch)));
      const parameters = parseJson(parametersJson || "{}") as JsonObject;
      await this.#runner.load({ ...load, parameters }, (fraction, says) =>
        call.write({ event: "progress", progress: { fraction, says } }),
      );
      this.#state = "loaded";
      call.write({ event: "loaded", loaded: { memory: currentMemory() } });
      call.end();
    } catch (error) {
      this.#state = "empty";
      refuse(call, error instanceof Error ? error.message : String(error));
    }
  }

  #run(call: RunCall): void {
    const controller = new AbortController();
    const cancel = () => controller.abort(new TemperaError("client_cancelled"));
    call.on("cancelled", cancel);
    call.on("error", cancel);
    readStart(call, (start, checkpoint) => {
      if (this.#state !== "loaded") refuse(call, "Nothing is loaded.");
      else if (start.session) void this.#holdSession(call, start, start.session, controller.signal);
      else void this.#answerRun(call, start, checkpoint, controller.signal);
    });
  }

  async #answerRun(
    call: RunCall,
    start: RunStart,
    checkpoint: Buffer | undefined,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#answer(call, signal, async (send) => {
      send({ started: {} });
      const input = parseInput(start.inputJson);
      const files = start.files ?? [];
      const { supportsCheckpoint } = this.#runner.describe();
      const isKeeping = start.checkpoints === true && supportsCheckpoint;
      const digest = isKeeping || checkpoint ? inputDigest(start.inputJson, files) : "";
      const owner: CheckpointOwner = { model: this.#model, input: digest };
      const restored = checkpoint && restore(checkpoint, owner, supportsCheckpoint);
      if (restored) send({ log: restored.log });
      const resume = restored?.state;
      const policy = this.#policy;
      const emitter = createEmitter(
        { write: (event) => call.write(event), drained: (until) => drained(call, until) },
        {
          signal,
          previews: start.previews === true,
          ...(isKeeping && {
            checkpoints: { owner, policy, sinceStep: resume?.step ?? 0, sinceMs: performance.now() },
          }),
        },
      );
      const { requestId, attempt } = start;
      const run = { requestId, attempt, input, files, ...(resume && { resume }) };
      const { output, inferenceMs } = await this.#runner.run(run, emitter, signal);
      return { json: writeJson(output), inferenceMs };
    });
  }

  async #holdSession(
    call: RunCall,
    { requestId, attempt }: RunStart,
    { path, raw }: NonNullable<RunStart["session"]>,
    signal: AbortSignal,
  ): Promise<void> {
    const openSession = this.#runner.session?.bind(this.#runner);
    if (!openSession) {
      const error = new TemperaError("runner_server_error", "This engine has no realtime sessions.");
      call.write({ error: errorMessage(error) });
      call.end();
      return;
    }
    // Reading begins at once: frames may come before the session has its slot.
    const frames = readFrames(call, signal);
    const sendAndDrain = async (event: RunEvent): Promise<void> => {
      signal.throwIfAborted();
      if (!call.write(event)) await drained(call, signal);
    };
    await this.#answer(call, signal, async () => {
      const session = { sessionId: requestId, attempt, path, raw };
      const run = await openSession(session);
      await sendAndDrain({ started: {} });
      await serveFrames(frames, session, run, sendAndDrain, signal);
      return { json: "{}", inferenceMs: 0 };
    });
  }

  /** Works in a slot, and ends the call with the output of the work or its error. */
  async #answer(
    call: RunCall,
    signal: AbortSignal,
    work: (send: (event: RunEvent) => void) => Promise<NonNullable<RunEvent["output"]>>,
  ): Promise<void> {
    const send = (event: RunEvent): void => {
      if (!signal.aborted) call.write(event);
    };
    let release: Release | undefined;
    try {
      release = await this.#slots.acquire(signal);
      send({ output: await work(send) });
    } catch (error) {
      send({ error: errorMessage(error) });
    } finally {
      release?.();
      call.end();
    }
  }
}

function currentMemory(): Memory {
  return {
    totalMib: Math.round(totalmem() / 2 ** 20),
    usedMib: Math.round(process.memoryUsage.rss() / 2 ** 20),
  };
}

function refuse(call: LoadCall | RunCall, message: string): void {
  call.emit("error", { code: grpc.status.FAILED_PRECONDITION, details: message });
}

/**
 * Calls `onStart` once, as soon as the start of a run and the checkpoint that belongs to it have arrived, in
 * the same tick: no message after them is lost. A checkpoint may be cut short, when the caller has ended its
 * half of the stream.
 */
function readStart(call: RunCall, onStart: (start: RunStart, checkpoint: Buffer | undefined) => void): void {
  let start: RunStart | undefined;
  const chunks: Uint8Array[] = [];
  let missingBytes = 0;
  let isStarted = false;
  const begin = (complete: RunStart) => {
    isStarted = true;
    onStart(complete, complete.checkpoint ? Buffer.concat(chunks) : undefined);
  };
  call.on("data", (message: RunRequest) => {
    if (isStarted) return;
    if (message.start && !start) {
      start = message.start;
      missingBytes = Math.min(start.checkpoint?.bytes ?? 0, LIMITS.checkpointBytesMax);
    } else if (message.checkpointChunk) {
      chunks.push(message.checkpointChunk.data);
      missingBytes -= message.checkpointChunk.data.length;
    }
    if (start && missingBytes <= 0) begin(start);
  });
  call.on("end", () => {
    if (isStarted) return;
    if (start) begin(start);
    else {
      const details = "The call ended without a start.";
      call.emit("error", { code: grpc.status.INVALID_ARGUMENT, details });
    }
  });
}

function parseInput(json: string): JsonObject {
  let input: unknown;
  try {
    input = parseJson(json);
  } catch {
    input = undefined;
  }
  if (typeof input === "object" && input !== null && !Array.isArray(input)) return input as JsonObject;
  const faults = [{ loc: ["body"], msg: "Input should be a valid dictionary", type: "dict_type" }];
  throw new TemperaError("input_invalid", "The input is not a JSON object.", { faults });
}

/** Resolves when the call accepts more messages. Rejects with the signal's reason when it aborts first. */
function drained(call: RunCall, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = () => {
      subscription[Symbol.dispose]();
      resolve();
    };
    call.once("drain", onDrain);
    const subscription = onAbort(signal, () => {
      call.off("drain", onDrain);
      reject(signal.reason);
    });
  });
}

/** Restores the state in a checkpoint if it fits this run, and words the log line about it for the caller. */
function restore(
  bytes: Buffer,
  owner: CheckpointOwner,
  isSupported: boolean,
): { state?: RunState; log: NonNullable<RunEvent["log"]> } {
  try {
    if (!isSupported) throw new Error("cannot be used, because this engine does not support checkpoints");
    const state = decodeCheckpoint(bytes, owner);
    return { state, log: { level: "INFO", message: `Going on from step ${state.step}.` } };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { log: { level: "WARN", message: `The checkpoint ${reason}; starting from the beginning.` } };
  }
}
