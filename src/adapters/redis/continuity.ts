import type { RedisConnection } from "./connection.ts";

/** Probes in the longest wait for an answer: an outage in which a writer fails meets one of them. */
const PROBES_PER_ANSWER = 2;

/**
 * Tells from which moment on this process has seen Redis without interruption. What is older may lack what
 * happened meanwhile: Redis may have been restored from an older copy, and writers may have been refused.
 *
 * Moments are those of Redis' own clock, which also makes the ids of events. It is read after each
 * interruption: a connection that was lost or is new, a command that failed or was answered too late, and a
 * silence of this process. A probe at a regular interval finds the interruptions of an idle process.
 */
export class Continuity {
  readonly #redis: RedisConnection;
  readonly #answerMs: number;
  readonly #probe: NodeJS.Timeout;
  /** Rises with each interruption. */
  #epoch = 0;
  #probing = false;
  /** Redis' time after the last interruption, in milliseconds; unknown until it is read. */
  #sinceMs: number | undefined;
  /** The time of Redis by its last answer, and when it was asked. */
  #lastTime: { timeMs: number; atMs: number } | undefined;

  constructor(redis: RedisConnection, answerMs: number) {
    this.#redis = redis;
    this.#answerMs = answerMs;
    redis.client.on("close", () => this.#interrupted());
    redis.client.on("ready", () => void this.#readTime());
    this.#probe = setInterval(() => void this.#readTime(), answerMs / PROBES_PER_ANSWER);
    this.#probe.unref();
  }

  /** Awaits a command as `RedisConnection` does. A failure is an interruption. */
  readonly answer = async <T>(command: Promise<T>): Promise<T> => {
    try {
      return await this.#redis.answer(command);
    } catch (error) {
      this.#interrupted();
      void this.#readTime();
      throw error;
    }
  };

  /** Names the interruption after which the moment is not known to lie; `undefined` when there was none. */
  doubtAbout(momentMs: number): number | undefined {
    return this.#sinceMs !== undefined && momentMs >= this.#sinceMs ? undefined : this.#epoch;
  }

  close(): void {
    clearInterval(this.#probe);
  }

  #interrupted(): void {
    this.#epoch++;
    this.#sinceMs = undefined;
  }

  /** Reads Redis' time, again when there was an interruption meanwhile. */
  async #readTime(): Promise<void> {
    const { client } = this.#redis;
    if (this.#probing) return;
    this.#probing = true;
    try {
      for (let epoch = -1; epoch !== this.#epoch && client.status === "ready"; ) {
        const atMs = performance.now();
        if (this.#lastTime && atMs - this.#lastTime.atMs > this.#answerMs) this.#interrupted();
        epoch = this.#epoch;
        const [seconds = 0, microseconds = 0] = await this.#redis.answer(client.time());
        if (epoch === this.#epoch) this.#note(seconds * 1_000 + Math.floor(microseconds / 1_000), atMs);
      }
    } catch {
      this.#interrupted();
    } finally {
      this.#probing = false;
    }
  }

  #note(timeMs: number, atMs: number): void {
    // The clock of a Redis that was moved to another machine may be behind: what is older stays older.
    const expectedMs = this.#lastTime
      ? Math.floor(this.#lastTime.timeMs + atMs - this.#lastTime.atMs)
      : timeMs;
    this.#sinceMs ??= Math.max(timeMs, expectedMs);
    this.#lastTime = { timeMs, atMs };
  }
}
