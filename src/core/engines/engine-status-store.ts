import type { ModelVersion } from "../models/model.ts";
import type { EngineOnWorker, EngineStatus, WorkerStatus } from "./engine-status.ts";

type Named = Pick<ModelVersion, "endpoint" | "version">;

/** An operator's orders to a worker to take no new requests. */
export interface DrainOrders {
  /** Drains every model, whatever `models` names. */
  all: boolean;
  models: Named[];
}

/**
 * The engine status store is where GPU workers report the state of their engines, and where operators request
 * resets and drains of them. The two sides are separate processes that share only this store.
 *
 * Every method rejects with `store_unavailable` when the store cannot be reached.
 */
export interface EngineStatusStore {
  /** Replaces this worker's earlier report. */
  report(worker: WorkerStatus, engines: readonly EngineStatus[]): Promise<void>;
  /** Removes a worker that stops: nothing of it is listed any more. */
  remove(worker: string): Promise<void>;
  /**
   * Lists by endpoint, version and worker. The last report of a worker that died is listed for
   * `LIMITS.engineReportKeptMs`.
   */
  list(): Promise<EngineOnWorker[]>;
  /**
   * Asks the workers that have this endpoint (or only the named one) to put it back into rotation, and
   * deletes the crash records of its versions. Returns the workers that it asked.
   */
  requestReset(of: {
    endpoint: string;
    version?: string;
    worker?: string;
  }): Promise<{ worker: string; version: string }[]>;
  /**
   * Orders the workers that have this endpoint (or only the named one) to take no new requests of it, or to
   * take them again. An order holds until it is withdrawn, also over a restart of a worker that keeps its
   * name. Returns the workers that it ordered.
   */
  drain(
    of: { endpoint: string; version?: string; worker?: string },
    on: boolean,
  ): Promise<{ worker: string; version: string }[]>;
  /** Does the same for everything that a worker has or will have. False when no such worker is known. */
  drainWorker(worker: string, on: boolean): Promise<boolean>;
  /** Returns the orders that hold for this worker. */
  drained(worker: string): Promise<DrainOrders>;
  /** Takes the resets that were requested of this worker since its last call; each is returned once. */
  takeResets(worker: string): Promise<Named[]>;
  /** Calls `listener` when something may have been requested of this worker. Returns how to stop. */
  onReset(worker: string, listener: () => void): Promise<() => Promise<void>>;
}
