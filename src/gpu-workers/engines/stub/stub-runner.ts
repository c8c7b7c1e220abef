/** A runner with fixed answers, delays and failures on demand, for development, tests and benchmarks. */
import { createCipheriv, createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { setImmediate, setTimeout as sleep } from "node:timers/promises";
import { CATALOGUE, isErrorCode } from "../../../core/errors/catalogue.ts";
import { type InputFault, TemperaError } from "../../../core/errors/tempera-error.ts";
import { attachedFile, type InputFile } from "../../../core/files/input-file.ts";
import type { Json, JsonObject } from "../../../core/json/json.ts";
import type { StreamedBytes } from "../../engine-sdk/run-emitter.ts";
import type { RunEmitter, Runner } from "../../engine-sdk/runner.ts";
import type { SessionValue } from "../../engine-sdk/session-server.ts";

const FAILURES = ["none", "error", "crash", "hang", "invalid", "model"] as const;

/** The smallest PNG: one black pixel. */
const PIXEL = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==",
  "base64",
);

interface StubInput {
  delayMs: number;
  steps: number;
  fail: (typeof FAILURES)[number];
  /** Attempts 1 to n fail; later ones succeed. */
  failAttempts: number;
  /** The step after which it fails; 0: when all are done. */
  failStep: number;
  /** With `fail: "model"`: a type of fal's model errors, and its context. */
  errorType: string;
  errorCtx: JsonObject;
  artifactBytes: number;
  previews: boolean;
  seed: number | bigint | null;
  echo: Json;
}

export function createStubRunner(): Runner {
  return {
    describe: () => ({
      runners: ["stub"],
      supportsStreaming: false,
      artifactTypes: ["application/octet-stream"],
      maxBatch: 1024,
      supportsCheckpoint: true,
    }),

    async load(_load, progress) {
      progress(1, "nothing to load");
    },

    async run({ attempt, input: raw, files, resume }, emit, signal) {
      const startedMs = performance.now();
      const input = parseStubInput(raw);
      const fails = attempt <= input.failAttempts ? input.fail : "none";
      refuse(fails, input);
      await work(input, resume?.step ?? 0, emit, signal, (step) =>
        fail(step === input.failStep ? fails : "none", signal),
      );
      if (input.failStep === 0) await fail(fails, signal);
      const output: JsonObject = { echo: input.echo, attempt, seed: input.seed };
      const file = attachedFile(raw.file_url ?? null, files);
      if (file) output.input_file = await describeFile(file);
      if (input.artifactBytes > 0) {
        const produced = { contentType: "application/octet-stream", fileName: "stub.bin" };
        output.file = await emit.streamedArtifact(
          produced,
          seededBytes(input.seed ?? 0, input.artifactBytes),
        );
      }
      return { output, inferenceMs: performance.now() - startedMs };
    },

    session: ({ attempt }) => ({
      frame: async (input, emit, signal, files) => emit(await answerFrame(attempt, { input, files }, signal)),
    }),
  };
}

/**
 * Answers a frame of a session with its echo: a raw frame as it is, else the payload of the input after its
 * delay. `fail` works as in a run; `fail_attempts` counts the attempts of the session.
 */
async function answerFrame(
  attempt: number,
  { input: value, files }: { input: SessionValue; files: readonly InputFile[] },
  signal: AbortSignal,
): Promise<SessionValue> {
  if (typeof value === "string" || value instanceof Uint8Array) return value;
  // The payload may contain bytes. It is only sent back.
  const input = parseStubInput(value as JsonObject);
  const fails = attempt <= input.failAttempts ? input.fail : "none";
  refuse(fails, input);
  if (input.delayMs > 0) await sleep(input.delayMs, undefined, { signal });
  await fail(fails, signal);
  const file = attachedFile((value as JsonObject).file_url ?? null, files);
  return {
    echo: input.echo,
    attempt,
    seed: input.seed,
    ...(file && { input_file: await describeFile(file) }),
  };
}

/**
 * Throws the failures that come before any work. An error type that does not concern the whole model is a
 * fault of the input, as in fal's protocol.
 */
function refuse(fails: StubInput["fail"], { errorType, errorCtx }: StubInput): void {
  if (fails !== "invalid" && fails !== "model") return;
  if (fails === "model" && isErrorCode(errorType) && CATALOGUE[errorType].kind === "model")
    throw new TemperaError(errorType);
  const type = fails === "model" ? errorType : "value_error";
  const ctx = fails === "model" && Object.keys(errorCtx).length > 0 ? { ctx: errorCtx } : {};
  const faults: InputFault[] = [
    { loc: ["body", "fail"], msg: "The stub was asked to refuse this input.", type, ...ctx },
  ];
  throw new TemperaError("input_invalid", undefined, { faults });
}

/** Describes a file that the input named, as the run sees it. */
async function describeFile({ path, contentType }: InputFile): Promise<JsonObject> {
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return { sha256: hash.digest("hex"), bytes, content_type: contentType };
}

/**
 * Waits `delayMs` in total, in `steps` equal parts with progress after each. The parts that an earlier
 * attempt has `done` are skipped.
 */
async function work(
  { delayMs, steps, previews }: StubInput,
  done: number,
  emit: RunEmitter,
  signal: AbortSignal,
  onStep: (step: number) => Promise<void>,
): Promise<void> {
  const startedMs = performance.now() - (delayMs * done) / Math.max(steps, 1);
  for (let step = done + 1; step <= Math.max(steps, 1); step++) {
    const pauseMs = startedMs + (delayMs * step) / Math.max(steps, 1) - performance.now();
    if (delayMs > 0 && pauseMs > 0) await sleep(pauseMs, undefined, { signal });
    signal.throwIfAborted();
    if (steps > 0 && previews) emit.preview?.(step, "image/png", PIXEL);
    if (steps > 0) emit.progress(step, steps, Math.max(0, startedMs + delayMs - performance.now()));
    if (step < steps) emit.checkpoint?.(step, () => ({ values: {}, tensors: [] }));
    await onStep(step);
  }
}

async function fail(how: StubInput["fail"], signal: AbortSignal): Promise<void> {
  if (how === "error") throw new TemperaError("runner_server_error", "The stub was asked to fail.");
  if (how === "crash") crash();
  if (how === "hang") await sleep(2 ** 31 - 1, undefined, { signal });
}

/** Ends the process as a native fault does: at once, with everything that was running. */
function crash(): never {
  process.kill(process.pid, "SIGKILL");
  throw new Error("unreachable: the process is dead");
}

const CHUNK_BYTES = 256 * 1024;
/** Chunks produced before yielding to the event loop, which takes some milliseconds. */
const CHUNKS_AT_ONCE = 16;

/**
 * Produces the same bytes for the same seed on every machine: an AES-128-CTR key stream under a key derived
 * from the seed.
 */
export function seededBytes(seed: number | bigint, count: number): StreamedBytes {
  return {
    bytes: count,
    async *read() {
      const key = createHash("sha256").update(String(seed)).digest().subarray(0, 16);
      const cipher = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
      const zeros = Buffer.alloc(CHUNK_BYTES);
      for (let offset = 0, chunks = 1; offset < count; offset += CHUNK_BYTES, chunks++) {
        yield cipher.update(zeros.subarray(0, Math.min(CHUNK_BYTES, count - offset)));
        if (chunks % CHUNKS_AT_ONCE === 0) await setImmediate();
      }
    },
  };
}

function parseStubInput(input: JsonObject): StubInput {
  const faults: InputFault[] = [];
  const integer = (field: string, fallback: number, maximum: number): number => {
    const value = input[field] ?? fallback;
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= maximum) return value;
    faults.push({
      loc: ["body", field],
      msg: `Input should be an integer from 0 to ${maximum}`,
      type: "int_type",
    });
    return fallback;
  };
  const failure = FAILURES.find((name) => name === (input.fail ?? "none"));
  if (!failure)
    faults.push({
      loc: ["body", "fail"],
      msg: `Input should be one of ${FAILURES.join(", ")}`,
      type: "literal_error",
    });
  const parsed: StubInput = {
    delayMs: integer("delay_ms", 0, 600_000),
    steps: integer("steps", 0, 1000),
    fail: failure ?? "none",
    failAttempts: integer("fail_attempts", 100, 1_000_000),
    failStep: integer("fail_step", 0, 1000),
    errorType: typeof input.error_type === "string" ? input.error_type : "internal_server_error",
    errorCtx: (input.error_ctx ?? {}) as JsonObject,
    artifactBytes: integer("artifact_bytes", 0, 4 * 2 ** 30),
    previews: input.previews === true,
    seed: typeof input.seed === "number" || typeof input.seed === "bigint" ? input.seed : null,
    echo: input.payload ?? input.prompt ?? null,
  };
  if (faults.length > 0) throw new TemperaError("input_invalid", undefined, { faults });
  return parsed;
}
