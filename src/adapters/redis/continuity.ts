import { isTemperaError, type TemperaError } from "../../core/errors/tempera-error.ts";
import type { RedisConnection } from "./connection.ts";
import type { Subscriptions } from "./subscriptions.ts";

/** Time to live of the key that the probes write, in milliseconds. */
const PROBE_KEPT_MS = 10_000;

/** Time in which refused writes are announced together, in milliseconds. */
const ANNOUNCE_AFTER_MS = 20;

/** Probes in the longest wait for an answer: an outage in which a writer fails meets one of them. */
const PROBES_PER_ANSWER = 2;

/**
 * Tells from which moment on this process has seen Redis without interruption. What is older may lack what
 * happened meanwhile: Redis may have been restored from an older copy, and writers may have been refused.
 *
 * Moments are those of Redis' own clock, which also makes the ids of events. It is read after each
 * interruption: a connection that was lost or is new, a command that failed or was answered too late, and a
 * silence of this process. A probe at a regular interval finds the interruptions of an idle process.
 *
 * A Redis that refuses writes is as good as away: the probe writes, and each process announces the writes of
 * its own that were refused, since those of another one may have been taken.
 */
export class Continuity {
  readonly #redis: RedisConnection;
  readonly #answerMs: number;
  readonly #names: { probeKey: string; refusalChannel: string };
  readonly #subscriptions: Subscriptions;
  readonly #onRefusal = new Set<(error: TemperaError) => void>();
  readonly #probe: NodeJS.Timeout;
  /** Rises with each interruption. */
  #epoch = 0;
  #probing = false;
  /** Redis' time after the last interruption, in milliseconds; unknown until it is read. */
  #sinceMs: number | undefined;
  /** The time of Redis by its last answer, and when it was asked. */
  #lastTime: { timeMs: number; atMs: number } | undefined;
  /** The refusal of the last probe. */
  #refusal: TemperaError | undefined;
  #announcing: NodeJS.Timeout | undefined;
  #listens = false;

  /** @param prefix begins the names of the key that probes write and of the channel for refused writes */
  constructor(
    redis: RedisConnection,
    { answerMs, prefix, subscriptions }: { answerMs: number; prefix: string; subscriptions: Subscriptions },
  ) {
    this.#redis = redis;
    this.#answerMs = answerMs;
    this.#names = { probeKey: `${prefix}probe`, refusalChannel: `${prefix}refused` };
    this.#subscriptions = subscriptions;
    redis.client.on("close", () => this.#interrupted());
    const probe = (): void => {
      void this.#readTime();
      void this.#listen();
    };
    redis.client.on("ready", probe);
    this.#probe = setInterval(probe, answerMs / PROBES_PER_ANSWER);
    this.#probe.unref();
  }

  /** Awaits a command as `RedisConnection` does. A failure is an interruption. */
  readonly answer = async <T>(command: Promise<T>): Promise<T> => {
    try {
      return await this.#redis.answer(command);
    } catch (error) {
      this.#interrupted();
      if (isRefusal(error)) {
        this.#refused(error);
        this.#announce();
      }
      void this.#readTime();
      throw error;
    }
  };

  /** Throws the refusal while Redis refuses writes: nothing that is followed would be seen. */
  assertWritable(): void {
    if (this.#refusal) throw this.#refusal;
  }

  /** Calls `listener` when Redis has refused a write, of this process or another one. Returns its removal. */
  onRefusal(listener: (error: TemperaError) => void): () => void {
    this.#onRefusal.add(listener);
    return () => this.#onRefusal.delete(listener);
  }

  /**
   * Names the interruption after which a write was not sent, as far as is known; `undefined` when there was
   * none. Redis may perform a write up to `answerMs` after it was sent: one that it performs right after an
   * interruption may come from the time before.
   *
   * @param performedMs when Redis performed the write, by its clock
   */
  doubtAbout(performedMs: number): number | undefined {
    const isLater = this.#sinceMs !== undefined && performedMs >= this.#sinceMs + this.#answerMs;
    return isLater ? undefined : this.#epoch;
  }

  /**
   * Gives the moment, by Redis' clock, until which a write that is sent now is performed in time: the sender
   * does not wait for its reply any longer. `undefined` when that clock was not read yet.
   */
  deadlineMs(): number | undefined {
    const last = this.#lastTime;
    return last && Math.floor(last.timeMs + performance.now() - last.atMs + this.#answerMs);
  }

  close(): void {
    clearInterval(this.#probe);
    clearTimeout(this.#announcing);
  }

  #refused(error: TemperaError): void {
    for (const listener of [...this.#onRefusal]) listener(error);
  }

  /** Publishes that a write was refused, which Redis takes all the same. */
  #announce(): void {
    this.#announcing ??= setTimeout(() => {
      this.#announcing = undefined;
      this.#redis.answer(this.#redis.client.publish(this.#names.refusalChannel, "")).catch(() => {});
    }, ANNOUNCE_AFTER_MS).unref();
  }

  /** Listens for the refusals of other processes; from the first connection on. */
  async #listen(): Promise<void> {
    if (this.#listens || this.#redis.client.status !== "ready") return;
    this.#listens = true;
    const message = (): void => {
      this.#interrupted();
      this.#refused(this.#redis.unavailable("has refused a write of another process"));
      void this.#readTime();
    };
    await this.#subscriptions.subscribe(this.#names.refusalChannel, { message }).catch(() => {
      this.#listens = false;
    });
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
        const [[seconds = 0, microseconds = 0]] = await Promise.all([
          this.#redis.answer(client.time()),
          this.#redis.answer(client.set(this.#names.probeKey, "", "PX", PROBE_KEPT_MS)),
        ]);
        this.#refusal = undefined;
        if (epoch === this.#epoch) this.#note(seconds * 1_000 + Math.floor(microseconds / 1_000), atMs);
      }
    } catch (error) {
      this.#interrupted();
      this.#refusal = isRefusal(error) ? error : undefined;
      if (this.#refusal) this.#refused(this.#refusal);
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

function isRefusal(error: unknown): error is TemperaError {
  return isTemperaError(error) && error.code === "store_full";
}
