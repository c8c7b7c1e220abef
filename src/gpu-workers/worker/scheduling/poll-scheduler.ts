/** Opens and closes the polling of this worker's task queues as the rota says. */

import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";
import type { Drained } from "../../../core/engines/engine-status-store.ts";
import type { EnginePool } from "../pool/engine-pool.ts";
import { nextMoves, type QueueState } from "./polling-plan.ts";

/** A task queue that is being polled. */
export interface Polling {
  /** Requests that were taken from it and have not come to an end. */
  inHand(): number;
  /** Takes nothing new from now on, as far as that can be known; what it has goes on. */
  drain(): void;
  /** Takes nothing new, gives running work its time of grace, then returns. */
  stop(): Promise<void>;
  /** Rejects when it broke. */
  ended: Promise<void>;
}

export interface QueueTurnsDependencies {
  models: readonly ModelVersion[];
  pool: Pick<EnginePool, "list" | "onChange">;
  budgetMiB: number;
  /** `onIdle` is called when the last request in hand has come to an end. */
  startPolling: (model: ModelVersion, onIdle: () => void) => Promise<Polling>;
  /** Tasks that nobody has taken from a task queue. */
  backlog: (taskQueue: string) => Promise<number>;
  log: (level: "INFO" | "WARN", message: string, about: { endpoint: string; version: string }) => void;
  turnMs?: number;
  /** What is not polled from the start. */
  drained?: Drained;
}

export interface QueueTurns {
  /** Polls for one more model, as soon as it fits. */
  add(model: ModelVersion): void;
  /** Polls no more for a model; resolves when what it had in hand has ended or its time of grace is over. */
  remove(model: Pick<ModelVersion, "endpoint" | "version">): Promise<void>;
  polled(model: Pick<ModelVersion, "endpoint" | "version">): boolean;
  /**
   * These are not polled from now on; what they have in hand gets its time of grace. What is not named is
   * polled again.
   */
  drain(drained: Drained): void;
  /** Calls `listener` when a queue was opened or closed. */
  onChange(listener: () => void): void;
  /** Stops polling and gives running work its time of grace. */
  stop(): Promise<void>;
  /** Settles when all has stopped; rejects when a polling broke. */
  ended: Promise<void>;
}

interface Queue {
  model: ModelVersion;
  taskQueue: string;
  state: "closed" | "opening" | "open" | "draining" | "closing";
  polling?: Polling;
  /** Both of a clock that is never set. */
  turnSinceMs: number;
  waitingSinceMs?: number;
  /** Not polled again. */
  leaving?: boolean;
}

/** Resolves when the queues that fit are polled; rejects, and polls none, when one of them cannot be. */
export async function startQueueTurns({
  models,
  pool,
  budgetMiB,
  startPolling,
  backlog,
  log,
  turnMs = LIMITS.turnMs,
  drained = { all: false, models: [] },
}: QueueTurnsDependencies): Promise<QueueTurns> {
  const queueOf = (model: ModelVersion): Queue => ({
    model,
    taskQueue: taskQueueOf(model),
    state: "closed",
    turnSinceMs: 0,
  });
  const queues = models.map(queueOf);
  const listeners = new Set<() => void>();
  const isDrained = ({ endpoint, version }: ModelVersion): boolean =>
    drained.all || drained.models.some((model) => model.endpoint === endpoint && model.version === version);
  let stopping = false;
  let looking: NodeJS.Timeout | undefined;
  let stopped = (): void => {};
  let fail = (_error: unknown): void => {};
  const failures: unknown[] = [];
  const ended = new Promise<void>((resolve, reject) => {
    stopped = resolve;
    fail = reject;
  });
  ended.catch(() => {}); // reported by whoever waits for it
  const broke = (error: unknown): void => {
    failures.push(error);
    fail(error);
  };
  const tell = () => {
    for (const listener of listeners) listener();
  };

  const once = (listener: () => void): void => {
    const own = () => {
      listeners.delete(own);
      listener();
    };
    listeners.add(own);
  };

  const open = async (queue: Queue): Promise<void> => {
    queue.state = "opening";
    delete queue.waitingSinceMs;
    const polling = await startPolling(queue.model, () => step());
    polling.ended.catch(broke);
    queue.polling = polling;
    queue.turnSinceMs = performance.now();
    queue.state = "open";
  };
  const close = async (queue: Queue): Promise<void> => {
    queue.state = "closing";
    await queue.polling?.stop();
    delete queue.polling;
    queue.state = "closed";
  };

  const statesOf = (): (QueueState & { queue: Queue })[] => {
    const seats = new Map(pool.list().map((status) => [taskQueueOf(status), status]));
    return queues.map((queue) => {
      const seat = seats.get(queue.taskQueue);
      return {
        queue,
        needMiB: seat?.needMiB ?? queue.model.memoryMiB,
        pinned: queue.model.pinned,
        lastUsedMs: seat?.lastUsedMs ?? 0,
        out: seat?.state === "out" || queue.leaving === true || isDrained(queue.model),
        polling: queue.state === "closed" || queue.state === "open" ? queue.state : "closing",
        running: queue.polling?.inHand() ?? 0,
        turnSinceMs: queue.turnSinceMs,
        ...(queue.waitingSinceMs !== undefined && { waitingSinceMs: queue.waitingSinceMs }),
      };
    });
  };

  const pending = new Set<Promise<void>>();
  const begin = (work: Promise<void>): void => {
    const done: Promise<void> = work.then(tell, broke).finally(() => {
      pending.delete(done);
      step();
    });
    pending.add(done);
  };
  /** Everything it does is begun here and told when it is done, which is the next step. */
  const step = (): void => {
    if (stopping) return;
    const states = statesOf();
    for (const { queue, running } of states)
      if (queue.state === "draining" && running === 0) begin(close(queue));
    const moves = nextMoves(states, { budgetMiB, turnMs, nowMs: performance.now() });
    for (const { queue } of moves.open) begin(open(queue));
    for (const { queue, out } of moves.close) {
      const why = queue.leaving
        ? "its version is gone"
        : isDrained(queue.model)
          ? "an operator drains it"
          : out
            ? "out of rotation"
            : "others need the memory";
      log("INFO", `Not polled for now: ${why}.`, queue.model);
      begin(close(queue));
    }
    for (const { queue } of moves.drain) {
      log("INFO", "Takes no new requests for now: those of others have waited long enough.", queue.model);
      queue.state = "draining";
      queue.polling?.drain();
    }
    if (states.some(({ queue, out }) => queue.state === "closed" && !out))
      looking ??= setTimeout(look, LIMITS.backlogLookMs);
  };
  /** Looks for requests of the queues that nobody polls here. */
  const look = async (): Promise<void> => {
    const unpolled = statesOf().filter(({ queue, out }) => queue.state === "closed" && !out);
    await Promise.all(
      unpolled.map(async ({ queue }) => {
        const waiting = await backlog(queue.taskQueue).catch(() => undefined); // Temporal is away: asked again soon
        if (waiting === undefined) return;
        if (waiting === 0) delete queue.waitingSinceMs;
        else queue.waitingSinceMs ??= performance.now();
      }),
    );
    looking = undefined;
    step();
  };

  const stopAll = async (): Promise<void> => {
    stopping = true;
    clearTimeout(looking);
    await Promise.all(pending);
    await Promise.all(queues.filter(({ polling }) => polling).map(close));
  };

  step();
  await Promise.all(pending);
  if (failures.length > 0) {
    await stopAll();
    throw failures[0];
  }
  const unsubscribe = pool.onChange(step);
  return {
    polled: (model) =>
      queues.some(({ taskQueue, state }) => state === "open" && taskQueue === taskQueueOf(model)),
    drain(wanted) {
      drained = wanted;
      step();
    },
    onChange: (listener) => void listeners.add(listener),
    add(model) {
      queues.push(queueOf(model));
      step();
    },
    async remove(model) {
      const queue = queues.find(({ taskQueue }) => taskQueue === taskQueueOf(model));
      if (!queue) return;
      queue.leaving = true;
      step();
      // An end of the worker closes it too.
      while (queue.state !== "closed") await new Promise<void>((resolve) => once(resolve));
      queues.splice(queues.indexOf(queue), 1);
    },
    ended,
    async stop() {
      unsubscribe();
      await stopAll();
      tell();
      stopped();
    },
  };
}
