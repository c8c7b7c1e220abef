/**
 * The crashes of one model version's engines on this worker: when the next start may be, and when it is
 * enough.
 *
 * A crash is an engine that ends without having been asked to, or a load that fails. One request that is
 * running alone when its engine crashes, again and again, counts once: then it is the request that breaks the
 * engine, and it ends as its own retry policy says, without taking the model from everybody
 * (docs/decisions/0016).
 */
import { LIMITS } from "../../../core/limits.ts";

export interface CrashRecord {
  /** Crashes in a row that count. */
  readonly count: number;
  readonly lastFailure: string | undefined;
  /** Enough of them: no engine is started any more until `reset`. */
  readonly out: boolean;
  /**
   * No new start before this moment, of `performance.now()`: a clock that is set back must not keep a model
   * away.
   */
  readonly startAfterMs: number;
  /**
   * @param running ids of the requests that the engine was running; empty for one that crashed during its load or while idle
   * @param early it had hardly come up: the next start waits, longer each time
   */
  crashed(reason: string, running: readonly string[], early: boolean): void;
  /** A run came to its end on the engine: it works. */
  finished(): void;
  /** An operator wants it tried again. */
  reset(): void;
}

const PAUSE_INITIAL_MS = 250;
const PAUSE_MAXIMUM_MS = 30_000;

export function createCrashRecord(nowMs: () => number = () => performance.now()): CrashRecord {
  let count = 0;
  let early = 0;
  let startAfterMs = 0;
  let suspect: string | undefined;
  let lastFailure: string | undefined;
  const forget = () => {
    count = 0;
    early = 0;
    startAfterMs = 0;
    suspect = undefined;
  };
  return {
    get count() {
      return count;
    },
    get lastFailure() {
      return lastFailure;
    },
    get out() {
      return count >= LIMITS.engineCrashesMax;
    },
    get startAfterMs() {
      return startAfterMs;
    },
    crashed(reason, running, wasEarly) {
      const alone = running.length === 1 ? running[0] : undefined;
      if (alone === undefined || alone !== suspect) count++;
      suspect = alone;
      lastFailure = reason;
      if (!wasEarly) return;
      startAfterMs = nowMs() + Math.min(PAUSE_INITIAL_MS * 2 ** early, PAUSE_MAXIMUM_MS);
      early++;
    },
    finished: forget,
    reset() {
      forget();
      lastFailure = undefined;
    },
  };
}
