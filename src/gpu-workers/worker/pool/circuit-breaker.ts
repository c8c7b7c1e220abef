/**
 * The circuit breaker of one model version on one GPU worker. It delays starts of an engine that crashed
 * early, and takes the model out of rotation after too many crashes in a row.
 *
 * A crash is an engine that ends unasked, or a load that fails. The breaker has three states:
 *
 * - **closed**: engines may be started. After an early crash the next start waits: 250 ms at first, twice as
 *   long after each further one, 30 s at most.
 * - **open**: crashes of `LIMITS.engineCrashesMax` different causes came in a row. The model version is
 *   unhealthy: no engine is started for it.
 * - **half-open**: a pause is over, and one request may try the model. When it comes to its end, the breaker
 *   closes; another crash opens it again, for twice as long as before, at most
 *   `LIMITS.engineTrialDelayMsMax`.
 *
 * Each failed load, and each crash of an engine that has had no request, is a cause of its own. All crashes
 * by requests of one owner are one cause, so that no owner can take a model from the others. A crash with
 * several owners on the engine is no cause: each of them is tried apart from the others next.
 *
 * A run that comes to its end closes the breaker and clears the causes and the delay; so does an operator's
 * `reset`.
 */
import { LIMITS } from "../../../core/limits.ts";

const DELAY_INITIAL_MS = 250;
const DELAY_MAX_MS = 30_000;

/** A crash as the breaker counts it. */
export interface CountedCrash {
  reason: string;
  /** Owners that each caused it alone; `engine` when no request can have caused it. */
  causes: readonly string[] | "engine";
  /** The engine crashed during its load or just after it, so the next start is delayed. */
  isEarly: boolean;
}

export interface CircuitBreakerOptions {
  /** Pause before the first trial. @default 30 s */
  trialDelayMs?: number | undefined;
  /** A clock that is never set back: a start must not be delayed by a corrected system clock. */
  nowMs?: () => number;
}

export class CircuitBreaker {
  readonly #nowMs: () => number;
  readonly #trialDelayMs: number;
  /** Crashes that no request can have caused. */
  #ofEngine = 0;
  readonly #owners = new Set<string>();
  #earlyCrashes = 0;
  #startAfterMs = 0;
  /** Present while open: the pause before the next trial, and when it is over. */
  #pause: { ms: number; untilMs: number } | undefined;
  #isTrying = false;
  #lastFailure: string | undefined;

  constructor({ trialDelayMs = 30_000, nowMs = () => performance.now() }: CircuitBreakerOptions = {}) {
    this.#trialDelayMs = trialDelayMs;
    this.#nowMs = nowMs;
  }

  /** Causes of crashes in a row. */
  get crashes(): number {
    return this.#ofEngine + this.#owners.size;
  }

  /** Reason of the last crash, kept until `reset`. */
  get lastFailure(): string | undefined {
    return this.#lastFailure;
  }

  /** Open or half-open. */
  get isOpen(): boolean {
    return this.#pause !== undefined;
  }

  /** Milliseconds until one request may try the model; 0 when it may now, or when the breaker is closed. */
  get trialInMs(): number {
    return this.#pause ? Math.max(0, this.#pause.untilMs - this.#nowMs()) : 0;
  }

  /** Half-open: the pause is over, whether the trial has begun or not. */
  get isHalfOpen(): boolean {
    return this.isOpen && (this.#isTrying || this.trialInMs === 0);
  }

  /** A request tries the model. */
  get isTrying(): boolean {
    return this.#isTrying;
  }

  /** Earliest moment of the next start, by the clock given to the constructor (`performance.now()`). */
  get startAfterMs(): number {
    return this.#startAfterMs;
  }

  /** Begins the trial of a half-open breaker. False when it is open, or another request tries the model. */
  tryBegin(): boolean {
    if (this.#isTrying || !this.isHalfOpen) return false;
    this.#isTrying = true;
    return true;
  }

  /** Ends a trial that told nothing: the next request may try. */
  endTrial(): void {
    this.#isTrying = false;
  }

  recordCrash({ reason, causes, isEarly }: CountedCrash): void {
    if (causes === "engine") this.#ofEngine++;
    else for (const owner of causes) this.#owners.add(owner);
    this.#lastFailure = reason;
    const isFailedTrial = this.#isTrying;
    this.#isTrying = false;
    if (isFailedTrial || (!this.isOpen && this.crashes >= LIMITS.engineCrashesMax)) this.#open();
    if (!isEarly) return;
    this.#startAfterMs = this.#nowMs() + Math.min(DELAY_INITIAL_MS * 2 ** this.#earlyCrashes, DELAY_MAX_MS);
    this.#earlyCrashes++;
  }

  /** Records that a run came to its end on the engine: the engine works. */
  recordSuccess(): void {
    this.#ofEngine = 0;
    this.#owners.clear();
    this.#earlyCrashes = 0;
    this.#startAfterMs = 0;
    this.#pause = undefined;
    this.#isTrying = false;
  }

  /** Closes the breaker for an operator and forgets the last failure. */
  reset(): void {
    this.recordSuccess();
    this.#lastFailure = undefined;
  }

  #open(): void {
    const ms = this.#pause
      ? Math.min(this.#pause.ms * 2, Math.max(LIMITS.engineTrialDelayMsMax, this.#trialDelayMs))
      : this.#trialDelayMs;
    this.#pause = { ms, untilMs: this.#nowMs() + ms };
  }
}
