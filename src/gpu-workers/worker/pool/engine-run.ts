/** One run over gRPC, seen from the GPU worker: the wire's events become calls of an `EngineListener`. */

import type { ArtifactHead, EngineListener, EngineResult, EngineRun } from "../../../core/engines/engine.ts";
import { isErrorCode } from "../../../core/errors/catalogue.ts";
import { type InputFault, isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../../core/json/json.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { CallsAhead } from "./prewarmed-calls.ts";
import {
  type ArtifactHeadMessage,
  CHUNK_BYTES_MAX,
  type CheckpointMessage,
  type RunEvent,
} from "../../contract/engine-protocol.ts";

/** What a run needs to know of the engine it runs on. */
export interface RunPlace {
  /** What `started` says of where the request runs. */
  worker: string;
  /** Longest silence of the engine while it runs; absent: for ever. */
  silenceMs?: number | undefined;
  /** Called when the engine has hung or broken its contract: it cannot be trusted with anything more. */
  onFault: (reason: string) => void;
}

/**
 * Runs one request on a loaded engine.
 *
 * Rejects with `client_cancelled` when `signal` was aborted (the call is cancelled and nothing is waited
 * for), `runner_disconnected` when the connection broke, `runner_incomplete_response` when the engine broke
 * its contract, `runner_connection_timeout` when it was silent for too long, what the listener threw when it
 * could not take an artifact, or the error that the engine answered.
 */
export async function runOnEngine(
  calls: CallsAhead,
  { worker, silenceMs, onFault }: RunPlace,
  run: EngineRun,
  listener: EngineListener,
  signal: AbortSignal,
): Promise<EngineResult> {
  signal.throwIfAborted();
  const call = calls.take();
  let onAbort = () => {};
  const cancelled = new Promise<never>((_, reject) => {
    onAbort = () => {
      call.cancel();
      reject(new TemperaError("client_cancelled"));
    };
    signal.addEventListener("abort", onAbort, { once: true });
  });
  try {
    call.write({
      start: {
        requestId: run.requestId,
        attempt: run.attempt,
        inputJson: JSON.stringify(run.input),
        files: run.files ?? [],
        previews: listener.preview !== undefined,
        checkpoints: listener.checkpoint !== undefined,
        ...(run.checkpoint && { checkpoint: { step: 0, bytes: run.checkpoint.length } }),
      },
    });
    for (let at = 0; at < (run.checkpoint?.length ?? 0); at += CHUNK_BYTES_MAX) {
      call.write({
        checkpointChunk: { data: run.checkpoint?.subarray(at, at + CHUNK_BYTES_MAX) ?? new Uint8Array() },
      });
    }
    call.end();
    return await Promise.race([
      cancelled,
      follow(within(call[Symbol.asyncIterator](), silenceMs), worker, listener),
    ]);
  } catch (error) {
    call.cancel();
    if (signal.aborted) throw new TemperaError("client_cancelled");
    const fault = faultOf(error);
    if (fault) {
      onFault(fault.message);
      throw fault;
    }
    if (isTemperaError(error)) throw error;
    if (isGrpcError(error))
      throw new TemperaError("runner_disconnected", `The engine went away: ${error.details}`, {
        cause: error,
      });
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** gRPC's numbers are status codes; `TemperaError`s and system errors carry strings. */
const isGrpcError = (error: unknown): error is { code: number; details: string } =>
  typeof error === "object" && error !== null && typeof (error as { code?: unknown }).code === "number";

/** A fault of the engine itself, as against what it answered or what a listener threw. */
class EngineFault extends TemperaError {}

const broken = (message: string, cause?: unknown): EngineFault =>
  new EngineFault("runner_incomplete_response", message, { cause });

function faultOf(error: unknown): EngineFault | undefined {
  if (error instanceof EngineFault) return error;
  // grpc-js says so of bytes that are no message of the contract.
  const garbled = isGrpcError(error) && error.details.startsWith("Response message parsing error");
  return garbled ? broken("The engine answered what cannot be read.", error) : undefined;
}

/** The events of a call; throws an `EngineFault` when none comes for `silenceMs` while one is waited for. */
function within(events: AsyncIterator<RunEvent>, silenceMs: number | undefined): AsyncIterator<RunEvent> {
  if (silenceMs === undefined) return events;
  return {
    next: () =>
      new Promise((resolve, reject) => {
        const onSilence = () => {
          const message = `The engine gave no sign of this run for ${Math.round(silenceMs / 1000)} s.`;
          reject(new EngineFault("runner_connection_timeout", message));
        };
        const timer = setTimeout(onSilence, silenceMs);
        events
          .next()
          .then(resolve, reject)
          .finally(() => clearTimeout(timer));
      }),
  };
}

async function follow(
  events: AsyncIterator<RunEvent>,
  worker: string,
  listener: EngineListener,
): Promise<EngineResult> {
  for (;;) {
    const { done, value: event } = await events.next();
    if (done) throw broken("The engine ended the call without an output.");
    if (event.started) listener.started(worker);
    else if (event.log) listener.log(event.log.level, event.log.message);
    else if (event.progress)
      listener.progress(event.progress.step, event.progress.steps, event.progress.remainingMs);
    else if (event.preview)
      listener.preview?.(event.preview.step, event.preview.contentType, event.preview.data);
    else if (event.checkpoint) await relayCheckpoint(event.checkpoint, events, listener);
    else if (event.artifact) await relayArtifact(event.artifact, events, listener);
    else if (event.error) throw engineError(event.error);
    else if (event.output)
      return { output: parseOutput(event.output.json), inferenceMs: event.output.inferenceMs };
  }
}

function parseOutput(json: string): JsonObject {
  let output: unknown;
  try {
    output = JSON.parse(json);
  } catch (cause) {
    throw broken("The engine's output is not JSON.", cause);
  }
  if (typeof output !== "object" || output === null || Array.isArray(output))
    throw broken("The engine's output is not a JSON object.");
  return output as JsonObject;
}

function engineError({
  code,
  message,
  faultsJson,
}: {
  code: string;
  message: string;
  faultsJson: string;
}): TemperaError {
  let faults: InputFault[] | undefined;
  try {
    faults = faultsJson ? (JSON.parse(faultsJson) as InputFault[]) : undefined;
  } catch (cause) {
    throw broken("The faults that the engine names are not JSON.", cause);
  }
  return new TemperaError(isErrorCode(code) ? code : "runner_server_error", message, faults && { faults });
}

/** Reads a whole checkpoint and hands it on, without waiting for what becomes of it. */
async function relayCheckpoint(
  { step, bytes }: CheckpointMessage,
  events: AsyncIterator<RunEvent>,
  listener: EngineListener,
): Promise<void> {
  if (bytes > LIMITS.checkpointBytesMax) {
    throw broken(
      `The engine handed out a checkpoint of ${bytes} bytes; ${LIMITS.checkpointBytesMax} are allowed.`,
    );
  }
  const chunks: Uint8Array[] = [];
  for (let left = bytes; left > 0; ) {
    const { done, value: event } = await events.next();
    const data = done ? undefined : event.checkpointChunk?.data;
    if (!data || data.length === 0 || data.length > left)
      throw broken(`The engine broke off a checkpoint, ${left} bytes before its end.`);
    left -= data.length;
    chunks.push(data);
  }
  listener.checkpoint?.(step, Buffer.concat(chunks));
}

async function relayArtifact(
  message: ArtifactHeadMessage,
  events: AsyncIterator<RunEvent>,
  listener: EngineListener,
): Promise<void> {
  const { index, contentType, fileName, bytes, sha256, width, height } = message;
  const head: ArtifactHead = {
    index,
    contentType,
    fileName,
    bytes,
    sha256,
    ...(width !== undefined && { width }),
    ...(height !== undefined && { height }),
  };
  const chunks = artifactChunks(head, events);
  await listener.artifact(head, chunks);
  // What the listener left is read away, so that the next event is the one after this file.
  for (;;) if ((await chunks.next()).done) return;
}

/**
 * The bytes of one file, as many as the head announced, else `runner_incomplete_response`. Who stores them
 * checks the digest.
 */
async function* artifactChunks(
  head: ArtifactHead,
  events: AsyncIterator<RunEvent>,
): AsyncGenerator<Uint8Array> {
  let left = head.bytes;
  while (left > 0) {
    const { done, value: event } = await events.next();
    const data = done ? undefined : event.chunk?.data;
    if (!data || data.length === 0 || data.length > left) {
      throw broken(`The engine broke off file ${head.index}, ${left} bytes before its end.`);
    }
    left -= data.length;
    yield data;
  }
}
