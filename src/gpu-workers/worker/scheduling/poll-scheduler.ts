/**
 * The poll scheduler of a GPU worker: opens and closes the polling of its task queues according to the
 * polling plan.
 *
 * Each model version has a queue in one of five modes:
 *
 * - **closed**: not polled. While any closed queue could be polled, the scheduler looks every
 *   `LIMITS.backlogCheckMs` for requests that wait in it, which the plan takes into account.
 * - **opening**: polling is being started. → open
 * - **open**: polled. The plan closes it when it is idle and its memory is needed, or when it is unavailable;
 *   it drains it when it is busy and others have waited too long. → closing, draining
 * - **draining**: takes nothing new, finishes the requests it has. → closing, once the last one has ended
 * - **closing**: polling is being stopped; requests still running get their grace period. → closed
 *
 * Opening and closing are the only asynchronous moves. Each end of one, each change of the pool, each end of
 * a queue's last request and each look at the backlogs calls `#step`, which makes a new plan and starts its
 * moves. While Temporal is away, a queue stays opening and is tried again. A move that fails otherwise makes
 * `ended` reject; so does polling that breaks later.
 */
import { LazyConnection } from "../../../core/concurrency/lazy-connection.ts";
import type { DrainOrders } from "../../../core/engines/engine-status-store.ts";
import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";
import type { EnginePool } from "../pool/engine-pool.ts";
import { planPolling, type QueueState } from "./polling-plan.ts";

/** The polling of one task queue. */
export interface Polling {
  /** Requests that were taken from the queue and have not ended. */
  inHand(): number;
  /** Takes nothing new from now on, as far as that can be known. What it has goes on. */
  drain(): void;
  /** Takes nothing new, gives running requests their grace period, then resolves. */
  stop(): Promise<void>;
  /** Rejects when polling broke. */
  ended: Promise<void>;
}

export interface PollSchedulerOptions {
  models: readonly ModelVersion[];
  pool: Pick<EnginePool, "list" | "onChange">;
  budgetMiB: number;
  /**
   * Starts polling; rejects with `temporal_unavailable` when another try may help. `onIdle` must be called
   * when the last request in hand has ended.
   */
  startPolling: (model: ModelVersion, onIdle: () => void) => Promise<Polling>;
  /** Counts the tasks of a task queue that nobody has taken. */
  backlog: (taskQueue: string) => Promise<number>;
  log: (level: "INFO" | "WARN", message: string, about: { endpoint: string; version: string }) => void;
  /** Longest time that requests wait behind busy models before one of those has to make room. */
  waitMaxMs?: number;
  /** Models that are not polled from the start. @default none */
  drained?: DrainOrders;
}

interface Queue {
  readonly model: ModelVersion;
  readonly taskQueue: string;
  mode: "closed" | "opening" | "open" | "draining" | "closing";
  /** The tries to poll it, while it is opening. */
  opening?: Disposable;
  polling?: Polling;
  /** When polling began, by a clock that is never set back. */
  openSinceMs: number;
  /** Since when requests are known to wait, by the same clock. */
  waitingSinceMs?: number;
  /** Its model is being removed: it is not polled again. */
  isRemoved?: boolean;
  /** It is polled only so that its requests are refused, which needs no memory. */
  isRefusing?: boolean;
  /** It is polled for one request at a time, which tries its unhealthy model. */
  isTrying?: boolean;
}

type PlannedQueue = QueueState & { queue: Queue; refuses: boolean; tries: boolean };

export class PollScheduler {
  /** Settles when all polling has stopped; rejects when polling of a queue broke. */
  readonly ended: Promise<void>;
  readonly #options: PollSchedulerOptions & { waitMaxMs: number };
  readonly #queues: Queue[];
  readonly #listeners = new Set<() => void>();
  /** Moves in progress. */
  readonly #moves = new Set<Promise<void>>();
  readonly #failures: unknown[] = [];
  #settleEnd!: { resolve: () => void; reject: (error: unknown) => void };
  #drained: DrainOrders;
  /** Task queues whose requests are refused while their model is unhealthy. */
  #refused: ReadonlySet<string> = new Set();
  #isStopping = false;
  #backlogTimer: NodeJS.Timeout | undefined;
  #unsubscribe = (): void => {};

  private constructor(options: PollSchedulerOptions) {
    this.#options = { ...options, waitMaxMs: options.waitMaxMs ?? LIMITS.waitBehindBusyModelsMs };
    this.#drained = options.drained ?? { all: false, models: [] };
    this.#queues = options.models.map(closedQueue);
    this.ended = new Promise((resolve, reject) => {
      this.#settleEnd = { resolve, reject };
    });
    this.ended.catch(() => {}); // Reported by whoever waits for it.
  }

  /**
   * Resolves when the queues that fit are polled. When one of them cannot be, for another reason than that
   * Temporal is away, rejects and polls none.
   */
  static async start(options: PollSchedulerOptions): Promise<PollScheduler> {
    const scheduler = new PollScheduler(options);
    scheduler.#step();
    await Promise.all(scheduler.#moves);
    if (scheduler.#failures.length > 0) {
      await scheduler.#closeAll();
      throw scheduler.#failures[0];
    }
    scheduler.#unsubscribe = options.pool.onChange(() => scheduler.#step());
    return scheduler;
  }

  /** Adds a model, which is polled as soon as it fits. */
  add(model: ModelVersion): void {
    this.#queues.push(closedQueue(model));
    this.#step();
  }

  /**
   * Stops polling for a model. Resolves when its requests have ended or their grace period is over, also when
   * `stop` comes first.
   */
  async remove(model: Pick<ModelVersion, "endpoint" | "version">): Promise<void> {
    const queue = this.#queues.find(({ taskQueue }) => taskQueue === taskQueueOf(model));
    if (!queue) return;
    queue.isRemoved = true;
    queue.opening?.[Symbol.dispose]();
    this.#step();
    while (queue.mode !== "closed") await this.#nextChange();
    this.#queues.splice(this.#queues.indexOf(queue), 1);
  }

  isPolled(model: Pick<ModelVersion, "endpoint" | "version">): boolean {
    return this.#queues.some(({ taskQueue, mode }) => mode === "open" && taskQueue === taskQueueOf(model));
  }

  /**
   * Replaces the set of drained models: they are not polled from now on, and their requests get their grace
   * period. Models that are no longer named are polled again.
   */
  drain(drained: DrainOrders): void {
    this.#drained = drained;
    this.#step();
  }

  /**
   * Replaces the set of task queues that no worker can serve: while their model is unhealthy they are polled
   * all the same, so that their requests end with the reason.
   */
  refuse(taskQueues: ReadonlySet<string>): void {
    this.#refused = taskQueues;
    this.#step();
  }

  /** Calls `listener` whenever a queue was opened or closed. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Stops polling and gives running requests their grace period. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    await this.#closeAll();
    this.#notify();
    this.#settleEnd.resolve();
  }

  /** Makes a plan and starts its moves. */
  #step(): void {
    if (this.#isStopping) return;
    for (const { queue } of this.#states().filter(isWronglyRefusing)) {
      this.#options.log("INFO", "No longer refuses its requests.", queue.model);
      this.#drainQueue(queue);
    }
    for (const { queue } of this.#states().filter(hasBeenTried)) this.#drainQueue(queue);
    const states = this.#states();
    for (const { queue, running } of states)
      if (queue.mode === "draining" && running === 0) this.#begin(this.#close(queue));
    const { budgetMiB, waitMaxMs, log } = this.#options;
    const plan = planPolling(states, { budgetMiB, waitMaxMs, nowMs: performance.now() });
    for (const state of plan.open) this.#begin(this.#open(state));
    for (const state of plan.close) {
      log("INFO", `No longer polled: ${this.#reasonToClose(state)}.`, state.queue.model);
      this.#begin(this.#close(state.queue));
    }
    for (const { queue } of plan.drain) {
      const message = "Takes no new requests for now: requests for other models have waited long enough.";
      log("INFO", message, queue.model);
      this.#drainQueue(queue);
    }
    if (states.some(couldBePolled))
      this.#backlogTimer ??= setTimeout(() => void this.#readBacklogs(), LIMITS.backlogCheckMs);
  }

  #drainQueue(queue: Queue): void {
    queue.mode = "draining";
    queue.polling?.drain();
  }

  #states(): PlannedQueue[] {
    const statuses = new Map(this.#options.pool.list().map((status) => [taskQueueOf(status), status]));
    return this.#queues.map((queue) => {
      const status = statuses.get(queue.taskQueue);
      const tries = status?.isOnTrial === true;
      const isUnhealthy =
        (status?.state === "unhealthy" && !tries) || queue.model.memoryMiB > this.#options.budgetMiB;
      const refuses = isUnhealthy && this.#refused.has(queue.taskQueue);
      return {
        queue,
        refuses,
        tries,
        needMiB: refuses || queue.isRefusing ? 0 : (status?.needMiB ?? queue.model.memoryMiB),
        pinned: queue.model.pinned,
        lastUsedMs: status?.lastUsedMs ?? 0,
        unavailable: (isUnhealthy && !refuses) || queue.isRemoved === true || this.#isDrained(queue.model),
        polling: queue.mode === "closed" || queue.mode === "open" ? queue.mode : "closing",
        running: queue.polling?.inHand() ?? 0,
        openSinceMs: queue.openSinceMs,
        ...(queue.waitingSinceMs !== undefined && { waitingSinceMs: queue.waitingSinceMs }),
      };
    });
  }

  #isDrained({ endpoint, version }: ModelVersion): boolean {
    const { all, models } = this.#drained;
    return all || models.some((model) => model.endpoint === endpoint && model.version === version);
  }

  #reasonToClose({ queue, unavailable }: PlannedQueue): string {
    if (queue.isRemoved) return "its version is no longer served";
    if (this.#isDrained(queue.model)) return "an operator drains it";
    return unavailable ? "it is unhealthy" : "other models need the memory";
  }

  /** Follows a move to its end, which calls for the next step. */
  #begin(move: Promise<void>): void {
    const done: Promise<void> = move
      .then(
        () => this.#notify(),
        (error) => this.#fail(error),
      )
      .finally(() => {
        this.#moves.delete(done);
        this.#step();
      });
    this.#moves.add(done);
  }

  async #open({ queue, refuses, tries }: PlannedQueue): Promise<void> {
    queue.mode = "opening";
    queue.isRefusing = refuses;
    queue.isTrying = tries;
    if (tries) this.#options.log("INFO", "Takes one request to try whether it works again.", queue.model);
    if (refuses)
      this.#options.log(
        "WARN",
        "Refuses its requests from now on: its engine is unhealthy on every GPU worker. Fix the cause, " +
          `then run \`tempera engines reset ${queue.model.endpoint}\`.`,
        queue.model,
      );
    delete queue.waitingSinceMs;
    const model = tries ? { ...queue.model, slots: 1 } : queue.model;
    const polling = await this.#startPolling(queue, model);
    queue.mode = polling ? "open" : "closed";
    if (!polling) return;
    polling.ended.catch((error) => this.#fail(error));
    queue.polling = polling;
    queue.openSinceMs = performance.now();
  }

  /** Tries until Temporal is there; `undefined` when the queue is no longer wanted. */
  async #startPolling(queue: Queue, model: ModelVersion): Promise<Polling | undefined> {
    const { startPolling, log } = this.#options;
    const opening = new LazyConnection({
      open: () => startPolling(model, () => this.#step()),
      close: (polling) => polling.stop(),
      onFailure: (error) => log("WARN", `Cannot be polled yet: ${(error as Error).message}`, model),
    });
    queue.opening = opening;
    try {
      return await opening.ready;
    } catch (error) {
      if (!this.#isStopping && !queue.isRemoved) throw error;
      return undefined;
    } finally {
      delete queue.opening;
    }
  }

  async #close(queue: Queue): Promise<void> {
    queue.mode = "closing";
    await queue.polling?.stop();
    delete queue.polling;
    delete queue.isRefusing;
    delete queue.isTrying;
    queue.mode = "closed";
  }

  async #closeAll(): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#backlogTimer);
    for (const { opening } of this.#queues) opening?.[Symbol.dispose]();
    await Promise.all(this.#moves);
    await Promise.all(this.#queues.filter(({ polling }) => polling).map((queue) => this.#close(queue)));
  }

  /** Notes in which queues that are not polled here requests wait. */
  async #readBacklogs(): Promise<void> {
    await Promise.all(
      this.#states()
        .filter(couldBePolled)
        .map(async ({ queue }) => {
          // While Temporal cannot be reached the queue keeps its state; it is asked again soon.
          const waiting = await this.#options.backlog(queue.taskQueue).catch(() => undefined);
          if (waiting === undefined) return;
          if (waiting === 0) delete queue.waitingSinceMs;
          else queue.waitingSinceMs ??= performance.now();
        }),
    );
    this.#backlogTimer = undefined;
    this.#step();
  }

  #fail(error: unknown): void {
    this.#failures.push(error);
    this.#settleEnd.reject(error);
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }

  #nextChange(): Promise<void> {
    return new Promise((resolve) => {
      const listener = () => {
        this.#listeners.delete(listener);
        resolve();
      };
      this.#listeners.add(listener);
    });
  }
}

function closedQueue(model: ModelVersion): Queue {
  return { model, taskQueue: taskQueueOf(model), mode: "closed", openSinceMs: 0 };
}

function couldBePolled({ queue, unavailable }: PlannedQueue): boolean {
  return queue.mode === "closed" && !unavailable;
}

/** A queue that was opened to refuse requests while the model was unhealthy, which it no longer is. */
function isWronglyRefusing({ queue, refuses }: PlannedQueue): boolean {
  return queue.mode === "open" && queue.isRefusing === true && !refuses;
}

/** A queue that was opened for a trial, which is over: its model works. One that does not work is closed. */
function hasBeenTried({ queue, tries, unavailable }: PlannedQueue): boolean {
  return queue.mode === "open" && queue.isTrying === true && !tries && !unavailable;
}
