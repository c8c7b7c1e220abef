/**
 * A realtime session as the gateway has it: it sends inputs to the GPU worker that holds the session now, and
 * receives their outputs.
 */
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { type ErrorInfo, errorInfo, isInDoubt, isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import type { Frame, SessionSpec, ToGateway, ToWorker } from "../../core/requests/session.ts";
import type { ChannelEnd, FrameChannel, Sessions } from "../../core/requests/sessions.ts";
import type { WithdrawJob } from "../../core/requests/withdrawal.ts";
import type { Budget, Hold } from "../limits/budget.ts";

export interface SessionListener {
  output(frame: Frame): void;
  /** The engine has finished an input after `seconds`, with an error when it failed. */
  settled(sequence: number, seconds: number, error: ErrorInfo | undefined): void;
  /** Inputs will get no answer: newer ones replaced them, or they were lost with an engine. */
  dropped(sequences: number[]): void;
  /** Another engine took over; `lost` inputs were with the one before. */
  resumed(lost: number): void;
  /** The session cannot continue. Called at most once, and not after `close`. */
  failed(error: ErrorInfo): void;
}

export interface Session {
  /** Takes an input and returns its number. Drops the oldest waiting inputs when a bound is exceeded. */
  send(payload: Uint8Array, text: boolean): number;
  /** True while inputs wait or are with the engine. */
  readonly busy: boolean;
  /** Ends the session, which frees the engine's slot. */
  close(): Promise<void>;
}

export interface SessionOptions {
  /** The most inputs that wait for the engine. */
  bufferedMax: number;
  /** The most inputs that are with the GPU worker. */
  inFlightMax: number;
}

interface SessionApi {
  sessions: Sessions;
  withdrawJob: WithdrawJob;
  frames: FrameChannel;
  log: Log;
  /** The budget of the waiting inputs. */
  budgets: { bodies: Budget };
}

/** Missed pulses after which a worker counts as lost, and inputs wait instead of being sent. */
const MISSED_PULSES_MAX = 3;

/** Opens a session, which takes inputs at once. Errors, also of the start, are reported to `failed`. */
export function openSession(
  api: SessionApi,
  spec: SessionSpec,
  options: SessionOptions,
  listener: SessionListener,
): Session {
  return new GatewaySession(api, spec, options, listener);
}

/**
 * States: without a worker (at the start, and whenever the worker misses its pulses or gives the session up),
 * with a worker (from its first pulse), closed.
 *
 * - Without a worker inputs wait. `spec.startMs` in that state fails the session.
 * - With a worker at most `inFlightMax` inputs are with it; the others wait.
 * - Each worker has an attempt number. A pulse of a higher attempt means that another worker took over:
 *   inputs that were with the former one are lost, and messages of the former one are ignored from then on.
 */
class GatewaySession implements Session {
  readonly #api: SessionApi;
  readonly #spec: SessionSpec;
  readonly #options: SessionOptions;
  readonly #listener: SessionListener;
  readonly #waiting: Frame[] = [];
  readonly #waitingBytes: Hold;
  /** The time at which each input was sent to the worker. */
  readonly #inFlight = new Map<number, number>();
  #sequence = 0;
  #attempt = 0;
  #hasWorker = false;
  #pulsedAtMs = 0;
  #withoutWorkerSinceMs = performance.now();
  #closed = false;
  #channel: ChannelEnd<ToWorker> | undefined;
  readonly #heartbeat: NodeJS.Timeout;
  readonly #opening: Promise<void>;

  constructor(api: SessionApi, spec: SessionSpec, options: SessionOptions, listener: SessionListener) {
    this.#api = api;
    this.#spec = spec;
    this.#options = options;
    this.#listener = listener;
    this.#waitingBytes = api.budgets.bodies.acquire(spec.ownerId, 0);
    this.#heartbeat = setInterval(() => this.#beat(), spec.pulseMs);
    this.#opening = this.#open();
  }

  get busy(): boolean {
    return this.#waiting.length > 0 || this.#inFlight.size > 0;
  }

  send(payload: Uint8Array, text: boolean): number {
    const frame: Frame = { sequence: ++this.#sequence, payload, ...(text && { text }) };
    if (this.#closed) return frame.sequence;
    this.#waiting.push(frame);
    this.#sendWaiting();
    const dropped: number[] = [];
    while (!this.#fitsBounds()) dropped.push(...this.#waiting.splice(0, 1).map(({ sequence }) => sequence));
    if (dropped.length > 0) this.#listener.dropped(dropped);
    return frame.sequence;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#heartbeat);
    this.#waiting.length = 0;
    this.#waitingBytes[Symbol.dispose]();
    await this.#opening;
    // A worker receives the message within milliseconds; without one, the session is cancelled in Temporal.
    const received = this.#channel?.send({ type: "end" }).then(
      () => this.#hasWorker,
      () => false,
    );
    if (!(await received)) await this.#cancel();
    await this.#channel?.close();
  }

  async #open(): Promise<void> {
    const { frames, sessions, log } = this.#api;
    const { sessionId } = this.#spec;
    try {
      this.#channel = await frames.openGateway(sessionId, (message) => this.#receive(message));
      if (!this.#closed) await sessions.start(this.#spec);
    } catch (error) {
      if (isInDoubt(error)) this.#api.withdrawJob({ requestId: sessionId });
      const info = errorInfo(error);
      log.warn({ sessionId, err: info }, "a realtime session did not start");
      this.#fail({ code: info.code, message: CATALOGUE[info.code].message });
    }
  }

  async #cancel(): Promise<void> {
    const { sessions, log } = this.#api;
    const { sessionId } = this.#spec;
    try {
      await sessions.cancel(sessionId);
    } catch (error) {
      log.warn(
        { sessionId, err: errorInfo(error) },
        "a session was not cancelled; it ends for lack of messages",
      );
    }
  }

  #fail(error: ErrorInfo): void {
    if (this.#closed) return;
    void this.close();
    this.#listener.failed(error);
  }

  #sendToWorker(message: ToWorker): void {
    this.#channel
      ?.send(message)
      .catch((error) =>
        this.#api.log.debug(
          { sessionId: this.#spec.sessionId, err: errorInfo(error) },
          "a frame was not sent",
        ),
      );
  }

  /** Counts the waiting inputs. Returns false when they exceed a bound; none never do. */
  #fitsBounds(): boolean {
    let bytes = 0;
    for (const { payload } of this.#waiting) bytes += payload.length;
    if (this.#waiting.length > this.#options.bufferedMax || bytes > LIMITS.framesBufferedBytesMax)
      return false;
    try {
      this.#waitingBytes.resize(bytes);
      return true;
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      return false;
    }
  }

  /** Sends as many waiting inputs as the worker may have. The listener may have closed the session. */
  #sendWaiting(): void {
    if (this.#closed) return;
    while (this.#hasWorker && this.#inFlight.size < this.#options.inFlightMax) {
      const frame = this.#waiting.shift();
      if (!frame) break;
      this.#inFlight.set(frame.sequence, performance.now());
      this.#sendToWorker({ type: "input", attempt: this.#attempt, frame });
    }
    this.#fitsBounds();
  }

  #receive(message: ToGateway): void {
    if (this.#closed || message.attempt < this.#attempt) return;
    switch (message.type) {
      case "pulse":
        this.#onPulse(message);
        break;
      case "output":
        this.#listener.output(message.frame);
        break;
      case "settled": {
        const sentAtMs = this.#inFlight.get(message.sequence);
        if (sentAtMs === undefined) return;
        this.#inFlight.delete(message.sequence);
        this.#listener.settled(message.sequence, (performance.now() - sentAtMs) / 1000, message.error);
        this.#sendWaiting();
        break;
      }
      case "ended":
        if (message.final) this.#fail(message.error);
        else this.#loseWorker();
        break;
    }
  }

  #onPulse({ attempt, settledThrough }: Extract<ToGateway, { type: "pulse" }>): void {
    this.#pulsedAtMs = performance.now();
    if (attempt > this.#attempt) this.#changeWorker(attempt);
    this.#hasWorker = true;
    // The engine has finished these inputs, but the messages about them were lost.
    this.#dropInFlight((sequence) => sequence <= settledThrough);
    this.#sendWaiting();
  }

  #changeWorker(attempt: number): void {
    const resumed = this.#attempt > 0;
    this.#attempt = attempt;
    const lost = this.#dropInFlight(() => true);
    if (resumed) this.#listener.resumed(lost);
  }

  /** Drops the matching inputs that are with the worker. Returns their number. */
  #dropInFlight(matches: (sequence: number) => boolean): number {
    const dropped = [...this.#inFlight.keys()].filter(matches);
    for (const sequence of dropped) this.#inFlight.delete(sequence);
    if (dropped.length > 0) this.#listener.dropped(dropped);
    return dropped.length;
  }

  #loseWorker(): void {
    if (!this.#hasWorker) return;
    this.#hasWorker = false;
    this.#withoutWorkerSinceMs = performance.now();
  }

  /** Tells the worker that the gateway is alive, and checks that the worker is. */
  #beat(): void {
    this.#sendToWorker({ type: "here" });
    const nowMs = performance.now();
    const { pulseMs, startMs } = this.#spec;
    if (this.#hasWorker && nowMs - this.#pulsedAtMs > pulseMs * MISSED_PULSES_MAX) this.#loseWorker();
    if (!this.#hasWorker && nowMs - this.#withoutWorkerSinceMs > startMs) {
      this.#fail({
        code: "runner_scheduling_failure",
        message: "No engine was free to hold the session in time; try again later.",
      });
    }
  }
}
