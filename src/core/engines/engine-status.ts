import { taskQueueOf } from "../models/model.ts";

/**
 * An engine status is the state of one model version on one GPU worker, as an operator sees it: written by
 * the worker, read by the admin service.
 */
export interface EngineStatus {
  endpoint: string;
  version: string;
  /**
   * `stopped`: no engine runs; the next request loads one. `unhealthy`: its engine kept crashing, or does not
   * fit this worker, which takes no requests for it.
   */
  state: "stopped" | "loading" | "ready" | "unhealthy";
  /** True while this worker takes requests from the model's task queue. */
  polled: boolean;
  pid?: number;
  /** Memory of the engine's process, as it last reported. */
  memoryMiB?: number;
  running: number;
  waiting: number;
  /** Crashes in a row that count towards the state `unhealthy`. */
  failures: number;
  lastFailure?: string;
}

/** The part of a status report that is about the GPU worker itself. */
export interface WorkerStatus {
  /** Unique among the workers that are alive. */
  worker: string;
  /** `cpu`, `cuda:0`, `tensorrt:0`. */
  device: string;
  /** Memory that its engines may hold together. */
  budgetMiB: number;
}

export interface EngineOnWorker extends EngineStatus, WorkerStatus {
  /** An operator has drained it: the worker takes no new requests of it. */
  drained: boolean;
  /** Time since the worker reported it, by the store's clock. */
  ageMs: number;
}

/**
 * Finds the model versions that no worker serves: their engine is unhealthy on each worker that reports them.
 * A worker that has fallen silent counts with its last report, since it may be cut off and work.
 *
 * @returns one of the reports of each version, by task queue
 */
export function unservedVersions(engines: readonly EngineOnWorker[]): Map<string, EngineOnWorker> {
  const unserved = new Map<string, EngineOnWorker>();
  for (const engine of engines) if (engine.state === "unhealthy") unserved.set(taskQueueOf(engine), engine);
  for (const engine of engines) if (engine.state !== "unhealthy") unserved.delete(taskQueueOf(engine));
  return unserved;
}
