import { ApplicationFailure, CancelledFailure, Context } from "@temporalio/activity";
import type { SessionEngines, SessionListener } from "../../core/engines/engine.ts";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import type { ErrorInfo } from "../../core/errors/tempera-error.ts";
import type { SessionEnd, SessionSpec, ToGateway } from "../../core/requests/session.ts";
import type { FrameChannel } from "../../core/requests/sessions.ts";
import { FrameQueue } from "./frame-queue.ts";
import type { FetchInput } from "./input-files.ts";
import { publicError } from "./public-error.ts";
import { SessionFiles } from "./session-files.ts";

export interface HoldSessionDependencies {
  /** The pool that runs models on this worker's device. */
  engines: SessionEngines;
  frames: FrameChannel;
  /** Fetches the files that an input names. */
  fetchInput: FetchInput;
}

/**
 * The activity of a realtime session: holds an engine slot on this GPU worker and relays frames, until the
 * caller's gateway reports that the caller left, or falls silent.
 *
 * Throws an `ApplicationFailure` whose type is a code of the error catalogue and whose first detail is the
 * `ErrorInfo`. Temporal retries it, on any worker that serves the model, when the engine or the worker was
 * lost; frames in transit are lost then.
 */
export function createHoldSession({ engines, frames, fetchInput }: HoldSessionDependencies) {
  return async function holdSession(session: SessionSpec): Promise<SessionEnd> {
    const attempt = new SessionAttempt(session, Context.current());
    await attempt.connect(frames);
    return attempt.run(engines, fetchInput);
  };
}

/**
 * One attempt of a session: connected to the gateway, then relaying until one side ends it. Two timers run
 * meanwhile: heartbeats to Temporal, which also detect a silent gateway, and pulses to the gateway.
 */
class SessionAttempt {
  readonly #session: SessionSpec;
  readonly #context: Context;
  readonly #attempt: number;
  readonly #inputs = new FrameQueue();
  /** Aborts when the caller has left or the gateway is lost. */
  readonly #callerGone = new AbortController();
  #channel: Awaited<ReturnType<FrameChannel["openWorker"]>> | undefined;
  #reason: SessionEnd["reason"] = "caller_left";
  #heardAtMs = performance.now();
  #settledThrough = 0;
  #settledInputs = 0;
  /** The worker's name, once its engine has started. */
  #worker: string | undefined;

  constructor(session: SessionSpec, context: Context) {
    this.#session = session;
    this.#context = context;
    this.#attempt = context.info.attempt;
  }

  /** Opens the channel to the gateway. */
  async connect(frames: FrameChannel): Promise<void> {
    this.#channel = await frames.openWorker(this.#session.sessionId, (message) => {
      this.#heardAtMs = performance.now();
      if (message.type === "end") this.#callerGone.abort();
      else if (message.type === "input" && message.attempt === this.#attempt)
        this.#inputs.push(message.frame);
    });
  }

  /** Holds the slot until the session ends. Returns how it ended. */
  async run(engines: SessionEngines, fetchInput: FetchInput): Promise<SessionEnd> {
    const { sessionId, ownerId, endpoint, version, path, raw, heartbeatMs, pulseMs } = this.#session;
    const ended = new AbortController();
    const caller = AbortSignal.any([this.#callerGone.signal, this.#context.cancellationSignal]);
    const signal = AbortSignal.any([caller, ended.signal]);
    const onRefused = (sequence: number, error: ErrorInfo) => this.#settle(sequence, error);
    await using files = new SessionFiles({ fetchInput, ownerId, signal, onRefused });
    const heartbeat = setInterval(() => this.#beat(), Math.max(200, heartbeatMs / 4));
    const pulse = setInterval(() => this.#pulse(), pulseMs);
    try {
      await engines.hold(
        { sessionId, ownerId, attempt: this.#attempt, endpoint, version, path, raw },
        raw ? this.#inputs : files.attachTo(this.#inputs),
        this.#listener(files),
        caller,
      );
      return this.#end();
    } catch (error) {
      if (this.#callerGone.signal.aborted) return this.#end();
      throw await this.#fail(error);
    } finally {
      clearInterval(heartbeat);
      clearInterval(pulse);
      ended.abort();
      this.#inputs.end();
      await this.#channel?.close();
    }
  }

  #end(): SessionEnd {
    return { reason: this.#reason, inputs: this.#settledInputs };
  }

  #listener(files: SessionFiles): SessionListener {
    const attempt = this.#attempt;
    return {
      started: (worker) => {
        this.#worker = worker;
        this.#pulse();
      },
      output: (frame) => this.#send({ type: "output", attempt, frame }),
      settled: async (sequence, error) => {
        await this.#settle(sequence, error);
        await files.settled(sequence);
      },
    };
  }

  #settle(sequence: number, error: ErrorInfo | undefined): Promise<void> {
    this.#settledThrough = sequence;
    this.#settledInputs++;
    const failed = error ? { error: publicError(error, this.#report) } : {};
    return this.#send({ type: "settled", attempt: this.#attempt, sequence, ...failed });
  }

  #beat(): void {
    this.#context.heartbeat({ inputs: this.#settledInputs });
    if (performance.now() - this.#heardAtMs > this.#session.silenceMs) {
      this.#reason = "gateway_lost";
      this.#callerGone.abort();
    }
  }

  #pulse(): void {
    if (this.#worker === undefined) return;
    const settledThrough = this.#settledThrough;
    void this.#send({ type: "pulse", attempt: this.#attempt, worker: this.#worker, settledThrough });
  }

  /**
   * Notifies the gateway of a failure. Returns the failure for Temporal, which decides whether it retries.
   */
  async #fail(error: unknown): Promise<ApplicationFailure | CancelledFailure> {
    const { cancellationSignal, cancellationDetails } = this.#context;
    if (cancellationSignal.aborted && !cancellationDetails?.workerShutdown)
      return new CancelledFailure("The session was ended.");
    const info: ErrorInfo = cancellationSignal.aborted
      ? { code: "runner_disconnected", message: "The GPU worker was shut down." }
      : publicError(error, this.#report);
    const { retryable } = CATALOGUE[info.code];
    const final = !retryable || this.#attempt >= this.#session.retry.attemptsMax;
    await this.#send({ type: "ended", attempt: this.#attempt, error: info, final });
    return ApplicationFailure.create({
      type: info.code,
      message: info.message,
      nonRetryable: !retryable,
      details: [info],
    });
  }

  /** Sends to the gateway; a failure is only logged. */
  async #send(message: ToGateway): Promise<void> {
    await this.#channel
      ?.send(message)
      .catch((error) => this.#context.log.warn(`frame channel: ${String(error)}`));
  }

  readonly #report = (message: string): void => this.#context.log.error(message);
}
