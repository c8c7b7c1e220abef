/**
 * The state of one model version on one GPU worker, as an operator sees it: written by the worker, read by
 * the admin role.
 */
export interface EngineStatus {
  endpoint: string;
  version: string;
  /**
   * `stopped`: no engine runs; the next request loads one. `unhealthy`: its engine kept crashing, or does not
   * fit this worker, which takes no requests for it.
   */
  state: "stopped" | "loading" | "ready" | "unhealthy";
  /** Whether this worker takes requests from the model's task queue now. */
  polled: boolean;
  pid?: number;
  /** Held by the engine's process, as it last said. */
  memoryMiB?: number;
  running: number;
  waiting: number;
  /** Crashes in a row that count towards the state `unhealthy`. */
  failures: number;
  lastFailure?: string;
}

/** What a GPU worker says of itself with each report. */
export interface WorkerStatus {
  /** Unique among the workers that are alive. */
  worker: string;
  /** `cpu`, `cuda:0`, `tensorrt:0`. */
  device: string;
  /** What its engines may hold together. */
  budgetMiB: number;
}

export interface EngineOnWorker extends EngineStatus, WorkerStatus {
  /** An operator wants the worker to take no new requests of it. */
  drained: boolean;
  /** How long ago the worker said so, by the store's clock. */
  ageMs: number;
}
