/** One realtime session over gRPC, as a GPU worker sees it. */
import type { EngineSession, SessionListener } from "../../../core/engines/engine.ts";
import type { Frame } from "../../../core/requests/session.ts";
import type { RunEvent, RunRequest } from "../../contract/engine-protocol.ts";
import { type CallTarget, contractBroken, readEngineError, temperaErrorOf, withCall } from "./engine-call.ts";
import type { PrewarmedCalls, RunCall } from "./prewarmed-calls.ts";

/**
 * Holds a session on a loaded engine until `inputs` end.
 *
 * Rejects with `client_cancelled` when `signal` aborts (the call is cancelled, and nothing is waited for),
 * `runner_disconnected` when the connection broke, `runner_incomplete_response` when the engine broke its
 * contract, or the error with which the engine refused the session.
 */
export function holdOnEngine(
  calls: PrewarmedCalls,
  target: CallTarget,
  { sessionId, attempt, path, raw }: EngineSession,
  inputs: AsyncIterable<Frame>,
  listener: SessionListener,
  signal: AbortSignal,
): Promise<void> {
  return withCall(calls, target, signal, async (call) => {
    call.write({ start: { requestId: sessionId, attempt, inputJson: "{}", session: { path, raw } } });
    const sending = sendFrames(call, inputs);
    sending.catch(() => {});
    await Promise.race([sending, relayEvents(call as AsyncIterable<RunEvent>, target.worker, listener)]);
  });
}

/**
 * Sends the inputs, then waits for ever: the session ends when the engine says so. Rejects as `inputs` does.
 */
async function sendFrames(call: RunCall, inputs: AsyncIterable<Frame>): Promise<never> {
  for await (const { sequence, payload, text = false, files = [] } of inputs)
    await write(call, { frame: { sequence, payload, text, files } });
  call.end();
  return new Promise<never>(() => {});
}

/**
 * Resolves when the message is on its way. The error of a call that has ended is left to the reading side.
 */
function write(call: RunCall, message: RunRequest): Promise<void> {
  return new Promise((resolve) => {
    call.write(message, () => resolve());
  });
}

async function relayEvents(
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
      await listener.settled(sequence, error ? readEngineError(error) : undefined);
    } else if (event.error) throw temperaErrorOf(readEngineError(event.error));
    else if (event.output) return;
  }
  throw contractBroken("The engine ended the session without an output or an error.");
}
