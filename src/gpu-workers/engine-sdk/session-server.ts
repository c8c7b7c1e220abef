/** Serves one realtime session of `engine.proto` for a runner written in TypeScript. */
import type * as grpc from "@grpc/grpc-js";
import { onAbort } from "../../core/concurrency/with-abort.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { InputFile } from "../../core/files/input-file.ts";
import { LIMITS } from "../../core/limits.ts";
import { decodeFrame, encodeFrame, FrameFault, type FrameObject } from "../../fal/msgpack.ts";
import type { FrameMessage, RunEvent, RunRequest } from "../contract/engine-protocol.ts";
import { errorMessage } from "./error-message.ts";

export interface RunnerSession {
  sessionId: string;
  /** 1 at first; greater after the session has lost an engine. */
  attempt: number;
  /** Path of the caller's URL after the endpoint: `/realtime`, `/custom`; empty for a raw session. */
  path: string;
  raw: boolean;
}

/** Text or bytes in a raw session; an object otherwise. */
export type SessionValue = FrameObject | string | Uint8Array;

/**
 * One realtime session of a runner. It may keep state between frames. Its end is announced by nothing but
 * `signal`.
 */
export interface SessionRun {
  /**
   * Answers one input. Inputs come one after another. An error that it throws, as `Runner.run` may, belongs
   * to this input alone; the session goes on.
   *
   * @param emit sends an output, any number of them, and resolves when it is on its way
   * @param files what the input refers to as `attachment:<index>`; readable until the promise is settled
   */
  frame(
    input: SessionValue,
    emit: (output: SessionValue) => Promise<void>,
    signal: AbortSignal,
    files: readonly InputFile[],
  ): Promise<void>;
}

type SessionCall = grpc.ServerDuplexStream<RunRequest, RunEvent>;

/** Number of waiting inputs at which an engine stops reading. */
const WAITING_MAX = 8;

/**
 * Reads the frames of a call, no faster than they are consumed. Ends when the caller ends its half of the
 * stream; throws the signal's reason when `signal` aborts.
 */
export function readFrames(call: SessionCall, signal: AbortSignal): AsyncIterable<FrameMessage> {
  const waiting: FrameMessage[] = [];
  let ended = false;
  let wake = () => {};
  call.on("data", ({ frame }: RunRequest) => {
    if (!frame) return;
    waiting.push(frame);
    if (waiting.length >= WAITING_MAX) call.pause();
    wake();
  });
  call.on("end", () => {
    ended = true;
    wake();
  });
  return (async function* () {
    using _ = onAbort(signal, () => wake());
    for (;;) {
      signal.throwIfAborted();
      const frame = waiting.shift();
      if (frame) {
        if (call.isPaused() && waiting.length < WAITING_MAX / 2) call.resume();
        yield frame;
      } else if (ended) return;
      else
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
    }
  })();
}

/**
 * Answers a session's frames until there are no more. Rejects with the signal's reason when `signal` aborts.
 */
export async function serveFrames(
  frames: AsyncIterable<FrameMessage>,
  { raw }: RunnerSession,
  run: SessionRun,
  send: (event: RunEvent) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  for await (const { sequence, payload, text = false, files = [] } of frames) {
    try {
      const emit = (output: SessionValue) => send({ frame: { sequence, ...encodeValue(output) } });
      await run.frame(
        raw ? (text ? Buffer.from(payload).toString("utf8") : payload) : decodeInput(payload),
        emit,
        signal,
        files,
      );
      await send({ frameDone: { sequence } });
    } catch (error) {
      signal.throwIfAborted();
      await send({ frameDone: { sequence, error: errorMessage(error) } });
    }
  }
}

function encodeValue(output: SessionValue): { payload: Uint8Array; text?: boolean } {
  if (typeof output === "string") return { payload: Buffer.from(output), text: true };
  const payload = output instanceof Uint8Array ? output : encodeFrame(output);
  if (payload.length > LIMITS.frameBytesMax) {
    throw new TemperaError(
      "runner_server_error",
      `The model's output of ${payload.length} bytes is larger than a frame may be ` +
        `(${LIMITS.frameBytesMax} bytes).`,
    );
  }
  return { payload };
}

/** The gateway has checked the frames already; those of an engine under test come straight from the test. */
function decodeInput(payload: Uint8Array): FrameObject {
  try {
    return decodeFrame(payload);
  } catch (error) {
    if (!(error instanceof FrameFault)) throw error;
    throw new TemperaError("input_invalid", error.message, {
      faults: [{ loc: ["body"], msg: error.message, type: "dict_type" }],
    });
  }
}
