/**
 * The circuit breaker of one model version on one GPU worker. It delays starts of an engine that crashed
 * early, and refuses them after too many crashes in a row.
 *
 * A crash is an engine that ends unasked, or a load that fails. The breaker has two states:
 *
 * - **closed**: engines may be started. After an early crash the next start waits: 250 ms at first, twice as
 *   long after each further one, 30 s at most.
 * - **open**: `LIMITS.engineCrashesMax` crashes came in a row. The model version is unhealthy: no engine is
 *   started for it until an operator calls `reset`.
 *
 * A run that comes to its end closes the breaker and clears both the count and the delay. When the same
 * request runs alone at every crash, all these crashes count once: the request breaks the engine, so it ends
 * as its own retry policy says and the model stays available to everybody else (docs/decisions/0016).
 */
import { LIMITS } from "../../../core/limits.ts";

const DELAY_INITIAL_MS = 250;
const DELAY_MAX_MS = 30_000;

export class CircuitBreaker {
  readonly #nowMs: () => number;
  #crashes = 0;
  #earlyCrashes = 0;
  #startAfterMs = 0;
  /** Id of the request that was running alone at the last crash. */
  #suspect: string | undefined;
  #lastFailure: string | undefined;

  /** @param nowMs a clock that is never set back: a start must not be delayed by a corrected system clock */
  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** Crashes in a row that count. */
  get crashes(): number {
    return this.#crashes;
  }

  /** Reason of the last crash, kept until `reset`. */
  get lastFailure(): string | undefined {
    return this.#lastFailure;
  }

  get isOpen(): boolean {
    return this.#crashes >= LIMITS.engineCrashesMax;
  }

  /** Earliest moment of the next start, by the clock given to the constructor (`performance.now()`). */
  get startAfterMs(): number {
    return this.#startAfterMs;
  }

  /**
   * @param running ids of the requests on the engine; none when it crashed during its load or while idle
   * @param isEarly the engine crashed during its load or just after it, so the next start is delayed
   */
  recordCrash(reason: string, running: readonly string[], isEarly: boolean): void {
    const alone = running.length === 1 ? running[0] : undefined;
    if (alone === undefined || alone !== this.#suspect) this.#crashes++;
    this.#suspect = alone;
    this.#lastFailure = reason;
    if (!isEarly) return;
    this.#startAfterMs = this.#nowMs() + Math.min(DELAY_INITIAL_MS * 2 ** this.#earlyCrashes, DELAY_MAX_MS);
    this.#earlyCrashes++;
  }

  /** Records that a run came to its end on the engine: the engine works. */
  recordSuccess(): void {
    this.#crashes = 0;
    this.#earlyCrashes = 0;
    this.#startAfterMs = 0;
    this.#suspect = undefined;
  }

  /** Closes the breaker for an operator and forgets the last failure. */
  reset(): void {
    this.recordSuccess();
    this.#lastFailure = undefined;
  }
}
