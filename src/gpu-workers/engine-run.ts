/** One run over gRPC, seen from the GPU worker: the wire's events become calls of an `EngineListener`. */

import type { ArtifactHead, EngineListener, EngineResult, EngineRun } from "../core/engine.ts";
import { isErrorCode } from "../core/errors/catalogue.ts";
import { type InputFault, isTemperaError, TemperaError } from "../core/errors/tempera-error.ts";
import type { JsonObject } from "../core/json.ts";
import type { ArtifactHeadMessage, EngineClient, RunEvent } from "./engine-protocol.ts";

/**
 * Runs one request on a loaded engine.
 *
 * Rejects with `client_cancelled` when `signal` was aborted (the call is cancelled and nothing is waited for),
 * `runner_disconnected` when the connection broke, `runner_incomplete_response` when the engine broke its contract, what
 * the listener threw when it could not take an artifact, or the error that the engine answered.
 */
export async function runOnEngine(
  client: EngineClient,
  worker: string,
  run: EngineRun,
  listener: EngineListener,
  signal: AbortSignal,
): Promise<EngineResult> {
  signal.throwIfAborted();
  const call = client.run();
  call.on("error", () => {}); // The iteration below throws it; without a listener a late one would end the process.
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
      },
    });
    call.end();
    return await Promise.race([cancelled, follow(call[Symbol.asyncIterator](), worker, listener)]);
  } catch (error) {
    call.cancel();
    if (signal.aborted) throw new TemperaError("client_cancelled");
    if (isTemperaError(error)) throw error;
    if (isGrpcError(error)) throw new TemperaError("runner_disconnected", `The engine went away: ${error.details}`, { cause: error });
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** gRPC's numbers are status codes; `TemperaError`s and system errors carry strings. */
const isGrpcError = (error: unknown): error is { code: number; details: string } =>
  typeof error === "object" && error !== null && typeof (error as { code?: unknown }).code === "number";

async function follow(events: AsyncIterator<RunEvent>, worker: string, listener: EngineListener): Promise<EngineResult> {
  for (;;) {
    const { done, value: event } = await events.next();
    if (done) throw new TemperaError("runner_incomplete_response", "The engine ended the call without an output.");
    if (event.started) listener.started(worker);
    else if (event.log) listener.log(event.log.level, event.log.message);
    else if (event.progress) listener.progress(event.progress.step, event.progress.steps, event.progress.remainingMs);
    else if (event.preview) listener.preview?.(event.preview.step, event.preview.contentType, event.preview.data);
    else if (event.artifact) await relayArtifact(event.artifact, events, listener);
    else if (event.error) throw engineError(event.error);
    else if (event.output) return { output: parseOutput(event.output.json), inferenceMs: event.output.inferenceMs };
  }
}

function parseOutput(json: string): JsonObject {
  try {
    return JSON.parse(json) as JsonObject;
  } catch (cause) {
    throw new TemperaError("runner_incomplete_response", "The engine's output is not JSON.", { cause });
  }
}

function engineError({ code, message, faultsJson }: { code: string; message: string; faultsJson: string }): TemperaError {
  const faults = faultsJson ? (JSON.parse(faultsJson) as InputFault[]) : undefined;
  return new TemperaError(isErrorCode(code) ? code : "runner_server_error", message, faults && { faults });
}

async function relayArtifact(message: ArtifactHeadMessage, events: AsyncIterator<RunEvent>, listener: EngineListener): Promise<void> {
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

/** The bytes of one file, as many as the head announced, else `runner_incomplete_response`. Who stores them checks the digest. */
async function* artifactChunks(head: ArtifactHead, events: AsyncIterator<RunEvent>): AsyncGenerator<Uint8Array> {
  let left = head.bytes;
  while (left > 0) {
    const { done, value: event } = await events.next();
    const data = done ? undefined : event.chunk?.data;
    if (!data || data.length === 0 || data.length > left) {
      throw new TemperaError("runner_incomplete_response", `The engine broke off file ${head.index}, ${left} bytes before its end.`);
    }
    left -= data.length;
    yield data;
  }
}
