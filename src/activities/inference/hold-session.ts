import { ApplicationFailure, CancelledFailure, Context } from "@temporalio/activity";
import type { SessionEngines } from "../../core/engines/engine.ts";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, errorInfo } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { FrameChannel } from "../../core/requests/sessions.ts";
import type { Frame, SessionEnd, SessionSpec, ToGateway } from "../../core/requests/session.ts";

export interface HoldSessionDependencies {
  /** The pool that runs models on this worker's device. */
  engines: SessionEngines;
  frames: FrameChannel;
}

/**
 * The activity of a realtime session: holds a slot of an engine on this GPU worker and relays frames, until
 * the caller's gateway says that the caller left, or falls silent.
 *
 * Throws an `ApplicationFailure` whose type is a code of the error catalogue and whose first detail is the
 * `ErrorInfo`; Temporal tries again, on whichever worker is there, when the engine or the worker was lost.
 * Frames under way are lost then.
 */
export const createHoldSession = ({ engines, frames }: HoldSessionDependencies) =>
  async function holdSession(session: SessionSpec): Promise<SessionEnd> {
    const context = Context.current();
    const { attempt } = context.info;
    const gone = new AbortController();
    let reason: SessionEnd["reason"] = "caller_left";
    let heardAtMs = performance.now();
    let settledThrough = 0;
    let inputs = 0;
    let worker: string | undefined;

    const waiting = createFrameQueue();
    const channel = await frames.openWorker(session.sessionId, (message) => {
      heardAtMs = performance.now();
      if (message.type === "end") gone.abort();
      else if (message.type === "input" && message.attempt === attempt) waiting.push(message.frame);
    });
    const tell = (message: ToGateway): Promise<void> =>
      channel.send(message).catch((error) => context.log.warn(`frame channel: ${String(error)}`));
    const report = (message: string): void => context.log.error(message);
    const pulse = (): void =>
      void (worker !== undefined && tell({ type: "pulse", attempt, worker, settledThrough }));

    const beat = setInterval(
      () => {
        context.heartbeat({ inputs });
        if (performance.now() - heardAtMs > session.silenceMs) {
          reason = "gateway_lost";
          gone.abort();
        }
      },
      Math.max(200, session.heartbeatMs / 4),
    );
    const pulsing = setInterval(pulse, session.pulseMs);
    try {
      const { sessionId, endpoint, version, path, raw } = session;
      await engines.hold(
        { sessionId, attempt, endpoint, version, path, raw },
        waiting,
        {
          started: (name) => {
            worker = name;
            pulse();
          },
          output: (frame) => tell({ type: "output", attempt, frame }),
          settled: (sequence, error) => {
            settledThrough = sequence;
            inputs++;
            return tell({
              type: "settled",
              attempt,
              sequence,
              ...(error && { error: publicError(error, report) }),
            });
          },
        },
        AbortSignal.any([gone.signal, context.cancellationSignal]),
      );
      return { reason, inputs };
    } catch (error) {
      if (gone.signal.aborted) return { reason, inputs };
      if (context.cancellationSignal.aborted && !context.cancellationDetails?.workerShutdown) {
        throw new CancelledFailure("The session was ended.");
      }
      const info: ErrorInfo = context.cancellationSignal.aborted
        ? { code: "runner_disconnected", message: "The GPU worker was shut down." }
        : publicError(errorInfo(error, "runner_server_error"), report);
      const { retryable } = CATALOGUE[info.code];
      await tell({
        type: "ended",
        attempt,
        error: info,
        final: !retryable || attempt >= session.retry.attemptsMax,
      });
      throw ApplicationFailure.create({
        type: info.code,
        message: info.message,
        nonRetryable: !retryable,
        details: [info],
      });
    } finally {
      clearInterval(beat);
      clearInterval(pulsing);
      waiting.end();
      await channel.close();
    }
  };

/** Inputs on their way to the engine. The gateway sends few ahead; one that sends more loses the oldest. */
function createFrameQueue(): AsyncIterable<Frame> & { push(frame: Frame): void; end(): void } {
  const waiting: Frame[] = [];
  let ended = false;
  let wake = (): void => {};
  return {
    push(frame) {
      if (waiting.length >= LIMITS.framesBufferedMax) waiting.shift();
      waiting.push(frame);
      wake();
    },
    end() {
      ended = true;
      wake();
    },
    async *[Symbol.asyncIterator]() {
      for (;;) {
        const frame = waiting.shift();
        if (frame) yield frame;
        else if (ended) return;
        else
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
      }
    },
  };
}

/**
 * A store that failed on the way is our own trouble: callers get a plain sentence, operators the whole one.
 */
function publicError(info: ErrorInfo, tell: (message: string) => void): ErrorInfo {
  if (CATALOGUE[info.code].kind !== "gateway") return info;
  tell(info.message);
  return { code: "internal_error", message: CATALOGUE.internal_error.says };
}
