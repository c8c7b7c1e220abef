/**
 * A realtime session as the gateway sees it: inputs go to whichever GPU worker holds it now, outputs come
 * back.
 */
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, errorInfo } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import type { ChannelEnd, FrameChannel, Sessions } from "../../core/requests/sessions.ts";
import type { Frame, SessionSpec, ToGateway, ToWorker } from "../../core/requests/session.ts";
import type { ByteBudget } from "./byte-budget.ts";

export interface SessionListener {
  output(frame: Frame): void;
  /** The engine is done with an input after `seconds`, and failed on it when there is an error. */
  settled(sequence: number, seconds: number, error: ErrorInfo | undefined): void;
  /** Inputs that will get no answer: pushed out by newer ones, or lost with an engine. */
  dropped(sequences: number[]): void;
  /** Another engine took over; `lost` inputs went with the one before. */
  resumed(lost: number): void;
  /** The session cannot go on. Called at most once, and not after `close`. */
  failed(error: ErrorInfo): void;
}

export interface Session {
  /** Takes an input; past the bound the oldest that waits is dropped. Returns its number. */
  send(payload: Uint8Array, text: boolean): number;
  /** Whether inputs wait or are being worked on. */
  readonly busy: boolean;
  /** Gives the engine's slot back. */
  close(): Promise<void>;
}

export interface SessionOptions {
  /** Inputs that may wait for the engine. */
  bufferedMax: number;
  /** Inputs that may be with the GPU worker. */
  inFlightMax: number;
}

/** Missing pulses after which a worker counts as away and inputs are kept instead of sent. */
const PULSES_MISSED_MAX = 3;

/**
 * Opens a session; it takes inputs at once. What goes wrong, also at the start, is told by `failed`.
 *
 * @param api `inputs`: what the inputs of all sessions that wait may take together
 */
export function openSession(
  {
    sessions,
    frames,
    log,
    inputs,
  }: { sessions: Sessions; frames: FrameChannel; log: Log; inputs: ByteBudget },
  spec: SessionSpec,
  { bufferedMax, inFlightMax }: SessionOptions,
  listener: SessionListener,
): Session {
  const waiting: Frame[] = [];
  let waitingBytes = 0;
  /** When each input went to the engine. */
  const inFlight = new Map<number, number>();
  let sequence = 0;
  let attempt = 0;
  let heldByWorker = false;
  let pulsedAtMs = 0;
  let withoutWorkerSinceMs = performance.now();
  let closed = false;
  let channel: ChannelEnd<ToWorker> | undefined;

  const fail = (error: ErrorInfo): void => {
    if (closed) return;
    void close();
    listener.failed(error);
  };
  const tell = (message: ToWorker): void => {
    channel
      ?.send(message)
      .catch((error) =>
        log.debug({ sessionId: spec.sessionId, err: errorInfo(error) }, "a frame was not sent"),
      );
  };

  const takeOldest = (): Frame | undefined => {
    const frame = waiting.shift();
    waitingBytes -= frame?.payload.length ?? 0;
    inputs.remove(frame?.payload.length ?? 0);
    return frame;
  };

  /** Sends what the engine may have. */
  const pump = (): void => {
    while (heldByWorker && inFlight.size < inFlightMax) {
      const frame = takeOldest();
      if (!frame) return;
      inFlight.set(frame.sequence, performance.now());
      tell({ type: "input", attempt, frame });
    }
  };
  const away = (): void => {
    if (!heldByWorker) return;
    heldByWorker = false;
    withoutWorkerSinceMs = performance.now();
  };
  /** Inputs up to this one are done; those whose own word got lost have no answer. */
  const settleThrough = (last: number): void => {
    const missed = [...inFlight.keys()].filter((each) => each <= last);
    for (const each of missed) inFlight.delete(each);
    if (missed.length > 0) listener.dropped(missed);
  };

  const hear = (message: ToGateway): void => {
    if (closed || message.attempt < attempt) return;
    switch (message.type) {
      case "pulse": {
        pulsedAtMs = performance.now();
        if (message.attempt > attempt) {
          const lost = [...inFlight.keys()];
          inFlight.clear();
          const resumed = attempt > 0;
          attempt = message.attempt;
          if (lost.length > 0) listener.dropped(lost);
          if (resumed) listener.resumed(lost.length);
        }
        heldByWorker = true;
        settleThrough(message.settledThrough);
        pump();
        break;
      }
      case "output":
        listener.output(message.frame);
        break;
      case "settled": {
        const sentAtMs = inFlight.get(message.sequence);
        if (sentAtMs === undefined) return;
        inFlight.delete(message.sequence);
        listener.settled(message.sequence, (performance.now() - sentAtMs) / 1000, message.error);
        pump();
        break;
      }
      case "ended":
        if (message.final) fail(message.error);
        else away();
        break;
    }
  };

  const beat = (): void => {
    tell({ type: "here" });
    const now = performance.now();
    if (heldByWorker && now - pulsedAtMs > spec.pulseMs * PULSES_MISSED_MAX) away();
    if (!heldByWorker && now - withoutWorkerSinceMs > spec.startMs) {
      fail({
        code: "runner_scheduling_failure",
        message: "No engine was free to hold the session in time; try again later.",
      });
    }
  };
  const beating = setInterval(beat, spec.pulseMs);

  const opening = (async () => {
    try {
      channel = await frames.openGateway(spec.sessionId, hear);
      if (!closed) await sessions.start(spec);
    } catch (error) {
      const info = errorInfo(error);
      log.warn({ sessionId: spec.sessionId, err: info }, "a realtime session did not start");
      fail({ code: info.code, message: CATALOGUE[info.code].says });
    }
  })();

  async function close(): Promise<void> {
    if (closed) return;
    closed = true;
    clearInterval(beating);
    while (takeOldest());
    await opening;
    // The worker hears it in a moment; Temporal is told too where no worker may be listening.
    const heard = channel?.send({ type: "end" }).then(
      () => heldByWorker,
      () => false,
    );
    if (!(await heard)) {
      await sessions
        .cancel(spec.sessionId)
        .catch((error) =>
          log.warn(
            { sessionId: spec.sessionId, err: errorInfo(error) },
            "a session was not cancelled; silence will end it",
          ),
        );
    }
    await channel?.close();
  }

  return {
    send(payload, text) {
      const frame: Frame = { sequence: ++sequence, payload, ...(text && { text }) };
      if (closed) return frame.sequence;
      waiting.push(frame);
      waitingBytes += payload.length;
      inputs.add(payload.length);
      pump();
      const dropped: number[] = [];
      while (waiting.length > bufferedMax || waitingBytes > LIMITS.framesBufferedBytesMax || inputs.over) {
        const oldest = takeOldest();
        if (!oldest) break;
        dropped.push(oldest.sequence);
      }
      if (dropped.length > 0) listener.dropped(dropped);
      return frame.sequence;
    },
    get busy() {
      return waiting.length > 0 || inFlight.size > 0;
    },
    close,
  };
}
