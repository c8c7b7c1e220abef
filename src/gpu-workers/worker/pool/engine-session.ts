/** One realtime session over gRPC, seen from the GPU worker. */
import type { EngineSession, SessionListener } from "../../../core/engines/engine.ts";
import { isErrorCode } from "../../../core/errors/catalogue.ts";
import {
  type ErrorInfo,
  type InputFault,
  isTemperaError,
  TemperaError,
} from "../../../core/errors/tempera-error.ts";
import type { Frame } from "../../../core/requests/session.ts";
import type { CallsAhead } from "./prewarmed-calls.ts";
import type { RunEvent, RunRequest } from "../../contract/engine-protocol.ts";

/**
 * Holds a session on a loaded engine until `inputs` end.
 *
 * Rejects with `client_cancelled` when `signal` was aborted (the call is cancelled and nothing is waited
 * for), `runner_disconnected` when the connection broke, `runner_incomplete_response` when the engine broke
 * its contract, or the error with which the engine refused the session.
 */
export async function holdOnEngine(
  calls: CallsAhead,
  worker: string,
  { sessionId, attempt, path, raw }: EngineSession,
  inputs: AsyncIterable<Frame>,
  listener: SessionListener,
  signal: AbortSignal,
): Promise<void> {
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

  const write = (message: RunRequest): Promise<void> =>
    new Promise((resolve) => {
      // A call that is over calls back with an error, which the reading side tells better.
      call.write(message, () => resolve());
    });
  const feed = async (): Promise<never> => {
    for await (const { sequence, payload, text = false } of inputs)
      await write({ frame: { sequence, payload, text } });
    call.end();
    return new Promise<never>(() => {});
  };

  try {
    call.write({ start: { requestId: sessionId, attempt, inputJson: "{}", session: { path, raw } } });
    const feeding = feed();
    feeding.catch(() => {});
    await Promise.race([cancelled, feeding, follow(call as AsyncIterable<RunEvent>, worker, listener)]);
  } catch (error) {
    call.cancel();
    if (signal.aborted) throw new TemperaError("client_cancelled");
    if (isTemperaError(error)) throw error;
    const { code, details } = error as { code?: unknown; details?: string };
    if (typeof code === "number")
      throw new TemperaError("runner_disconnected", `The engine went away: ${details}`, { cause: error });
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

async function follow(
  events: AsyncIterable<RunEvent>,
  worker: string,
  listener: SessionListener,
): Promise<void> {
  for await (const event of events) {
    if (event.started) listener.started(worker);
    else if (event.frame) {
      const { sequence, payload, text } = event.frame;
      await listener.output({ sequence, payload, ...(text && { text }) });
    } else if (event.frameDone) {
      const { sequence, error } = event.frameDone;
      await listener.settled(sequence, error ? engineError(error) : undefined);
    } else if (event.error) {
      const { code, message, faults } = engineError(event.error);
      throw new TemperaError(code, message, faults && { faults });
    } else if (event.output) return;
  }
  throw new TemperaError("runner_incomplete_response", "The engine ended the session without a word.");
}

function engineError({
  code,
  message,
  faultsJson,
}: {
  code: string;
  message: string;
  faultsJson: string;
}): ErrorInfo {
  const faults = faultsJson ? (JSON.parse(faultsJson) as InputFault[]) : undefined;
  return { code: isErrorCode(code) ? code : "runner_server_error", message, ...(faults && { faults }) };
}
