/** Serves one realtime session of `engine.proto` for a runner written in TypeScript. */
import type * as grpc from "@grpc/grpc-js";
import { errorInfo, TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { decodeFrame, encodeFrame, FrameFault, type FrameObject } from "../../fal/msgpack.ts";
import type { FrameMessage, RunEvent, RunRequest } from "../contract/engine-protocol.ts";

export interface RunnerSession {
  sessionId: string;
  /** 1 at first; more after the session lost an engine. */
  attempt: number;
  /** What the caller's address has behind the endpoint: `/realtime`, `/custom`; empty for a raw session. */
  path: string;
  raw: boolean;
}

/** Text or bytes in a raw session; an object otherwise. */
export type SessionValue = FrameObject | string | Uint8Array;

/**
 * One realtime session of a runner. What it keeps between frames is its own; it is told no end but `signal`.
 */
export interface SessionRun {
  /**
   * Deals with one input; `emit` gives an output, as often as there are any, and resolves when it is on its
   * way. Inputs come one after the other. What it throws is that input's error, as of `Runner.run`; the
   * session goes on.
   */
  frame(
    input: SessionValue,
    emit: (output: SessionValue) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
}

type SessionCall = grpc.ServerDuplexStream<RunRequest, RunEvent>;

/** Inputs that an engine lets wait before it stops reading. */
const WAITING_MAX = 8;

/**
 * The frames of a call as they come, read no faster than they are dealt with; ends with the caller's half of
 * the stream.
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
  signal.addEventListener("abort", () => wake(), { once: true });
  return (async function* () {
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

/** Deals with a session's frames until the caller closes its half. Rejects when `signal` is aborted. */
export async function serveFrames(
  frames: AsyncIterable<FrameMessage>,
  { raw }: RunnerSession,
  run: SessionRun,
  send: (event: RunEvent) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  for await (const { sequence, payload, text = false } of frames) {
    try {
      const emit = (output: SessionValue) => send({ frame: { sequence, ...encodeValue(output) } });
      await run.frame(
        raw ? (text ? Buffer.from(payload).toString("utf8") : payload) : decodeInput(payload),
        emit,
        signal,
      );
      await send({ frameDone: { sequence } });
    } catch (error) {
      signal.throwIfAborted();
      const { code, message, faults } = errorInfo(error, "runner_server_error");
      await send({
        frameDone: { sequence, error: { code, message, faultsJson: faults ? JSON.stringify(faults) : "" } },
      });
    }
  }
}

const encodeValue = (output: SessionValue): { payload: Uint8Array; text?: boolean } => {
  if (typeof output === "string") return { payload: Buffer.from(output), text: true };
  const payload = output instanceof Uint8Array ? output : encodeFrame(output);
  if (payload.length > LIMITS.frameBytesMax) {
    throw new TemperaError(
      "runner_server_error",
      `The model's output of ${payload.length} bytes is larger than a frame may be.`,
    );
  }
  return { payload };
};

/** Frames were checked by the gateway; an engine under test is fed by hand. */
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
