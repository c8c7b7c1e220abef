/** One run over gRPC, as a GPU worker sees it: the wire's events become calls of an `EngineListener`. */

import type { ArtifactHead, EngineListener, EngineResult, EngineRun } from "../../../core/engines/engine.ts";
import { parseJson, writeJson } from "../../../core/json/exact-json.ts";
import type { JsonObject } from "../../../core/json/json.ts";
import { LIMITS } from "../../../core/limits.ts";
import {
  type ArtifactHeadMessage,
  CHUNK_BYTES_MAX,
  type CheckpointMessage,
  type RunEvent,
} from "../../contract/engine-protocol.ts";
import {
  type CallTarget,
  contractBroken,
  EngineFault,
  readEngineError,
  temperaErrorOf,
  withCall,
} from "./engine-call.ts";
import type { PrewarmedCalls, RunCall } from "./prewarmed-calls.ts";

/** The engine that a run goes to. */
export interface RunTarget extends CallTarget {
  /** Longest silence of the engine during the run. @default unbounded */
  silenceMs?: number | undefined;
}

/**
 * Runs one request on a loaded engine.
 *
 * Rejects with `client_cancelled` when `signal` aborts (the call is cancelled, and nothing is waited for),
 * `runner_disconnected` when the connection broke, `runner_incomplete_response` when the engine broke its
 * contract, `runner_connection_timeout` when it was silent for too long, what the listener threw when it
 * could not take an artifact, or the error that the engine answered.
 */
export function runOnEngine(
  calls: PrewarmedCalls,
  target: RunTarget,
  run: EngineRun,
  listener: EngineListener,
  signal: AbortSignal,
): Promise<EngineResult> {
  return withCall(calls, target, signal, async (call) => {
    sendRun(call, run, listener);
    const events = limitSilence(call[Symbol.asyncIterator](), target.silenceMs);
    return relayEvents(events, target.worker, listener);
  });
}

function sendRun(call: RunCall, run: EngineRun, listener: EngineListener): void {
  call.write({
    start: {
      requestId: run.requestId,
      attempt: run.attempt,
      inputJson: writeJson(run.input),
      files: run.files ?? [],
      previews: listener.preview !== undefined,
      checkpoints: listener.checkpoint !== undefined,
      ...(run.checkpoint && { checkpoint: { step: 0, bytes: run.checkpoint.length } }),
    },
  });
  const checkpoint = run.checkpoint ?? new Uint8Array();
  for (let offset = 0; offset < checkpoint.length; offset += CHUNK_BYTES_MAX)
    call.write({ checkpointChunk: { data: checkpoint.subarray(offset, offset + CHUNK_BYTES_MAX) } });
  call.end();
}

/** The events of a call. `next` rejects with an `EngineFault` when no event comes for `silenceMs`. */
function limitSilence(
  events: AsyncIterator<RunEvent>,
  silenceMs: number | undefined,
): AsyncIterator<RunEvent> {
  if (silenceMs === undefined) return events;
  return {
    next: () =>
      new Promise((resolve, reject) => {
        const onSilence = () => {
          const message = `The engine sent nothing about this run for ${Math.round(silenceMs / 1000)} s.`;
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

async function relayEvents(
  events: AsyncIterator<RunEvent>,
  worker: string,
  listener: EngineListener,
): Promise<EngineResult> {
  for (;;) {
    const { done, value: event } = await events.next();
    if (done) throw contractBroken("The engine ended the call without an output.");
    if (event.started) listener.started(worker);
    else if (event.log) listener.log(event.log.level, event.log.message);
    else if (event.progress)
      listener.progress(event.progress.step, event.progress.steps, event.progress.remainingMs);
    else if (event.preview)
      listener.preview?.(event.preview.step, event.preview.contentType, event.preview.data);
    else if (event.checkpoint) await relayCheckpoint(event.checkpoint, events, listener);
    else if (event.artifact) await relayArtifact(event.artifact, events, listener);
    else if (event.error) throw temperaErrorOf(readEngineError(event.error));
    else if (event.output)
      return { output: parseOutput(event.output.json), inferenceMs: event.output.inferenceMs };
  }
}

function parseOutput(json: string): JsonObject {
  let output: unknown;
  try {
    output = parseJson(json);
  } catch (cause) {
    throw contractBroken("The engine's output is not JSON.", cause);
  }
  if (typeof output !== "object" || output === null || Array.isArray(output))
    throw contractBroken("The engine's output is not a JSON object.");
  return output as JsonObject;
}

/** Reads a whole checkpoint and hands it to the listener, without waiting for what the listener does. */
async function relayCheckpoint(
  { step, bytes }: CheckpointMessage,
  events: AsyncIterator<RunEvent>,
  listener: EngineListener,
): Promise<void> {
  if (bytes > LIMITS.checkpointBytesMax)
    throw contractBroken(
      `The engine announced a checkpoint of ${bytes} bytes; ` +
        `at most ${LIMITS.checkpointBytesMax} are allowed.`,
    );
  const chunks: Uint8Array[] = [];
  for (let left = bytes; left > 0; ) {
    const { done, value: event } = await events.next();
    const data = done ? undefined : event.checkpointChunk?.data;
    if (!data || data.length === 0 || data.length > left)
      throw contractBroken(`The engine broke off a checkpoint ${left} bytes before its end.`);
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
  // Skips the chunks that the listener did not read, so that the next event is the one after this file.
  for (;;) if ((await chunks.next()).done) return;
}

/**
 * Yields the bytes of one file, exactly as many as its head announced; else throws
 * `runner_incomplete_response`. The digest is checked by whoever stores them.
 */
async function* artifactChunks(
  head: ArtifactHead,
  events: AsyncIterator<RunEvent>,
): AsyncGenerator<Uint8Array> {
  let left = head.bytes;
  while (left > 0) {
    const { done, value: event } = await events.next();
    const data = done ? undefined : event.chunk?.data;
    if (!data || data.length === 0 || data.length > left)
      throw contractBroken(`The engine broke off file ${head.index} ${left} bytes before its end.`);
    left -= data.length;
    yield data;
  }
}
