import type { ModelVersion } from "../models/model.ts";
import type { EngineOnWorker, EngineStatus, WorkerStatus } from "./engine-status.ts";

type Named = Pick<ModelVersion, "endpoint" | "version">;

export interface DrainOrders {
  /** Everything, whatever else is named. */
  all: boolean;
  models: Named[];
}

/**
 * Where GPU workers say how their engines are, and operators request resets of unhealthy ones. The two
 * never meet: they are processes that know only the store. Every method rejects with `store_unavailable` when
 * it cannot be reached.
 */
export interface EngineStatusStore {
  /** Replaces what this worker said before. */
  report(worker: WorkerStatus, engines: readonly EngineStatus[]): Promise<void>;
  /** The worker is going away: nothing of it is listed any more. */
  remove(worker: string): Promise<void>;
  /** By endpoint, version, worker. Of a worker that died its last word, for `LIMITS.engineReportKeptMs`. */
  list(): Promise<EngineOnWorker[]>;
  /**
   * Asks the workers that have this endpoint (or the one named) to serve it again. Returns who was
   * asked.
   */
  requestReset(of: {
    endpoint: string;
    version?: string;
    worker?: string;
  }): Promise<{ worker: string; version: string }[]>;
  /**
   * Asks the workers that have this endpoint (or the one named) to take no new requests of it, or to take
   * them again. It stands until it is taken back, also over a restart of a worker that keeps its name.
   * Returns who was asked.
   */
  drain(
    of: { endpoint: string; version?: string; worker?: string },
    on: boolean,
  ): Promise<{ worker: string; version: string }[]>;
  /** The same of everything that a worker has or will have. False when no such worker is known. */
  drainWorker(worker: string, on: boolean): Promise<boolean>;
  /** What this worker is to take no new requests of. */
  drained(worker: string): Promise<DrainOrders>;
  /** What this worker was asked for since it last looked; each is given once. */
  takeResets(worker: string): Promise<Named[]>;
  /** Calls `listener` when this worker may have been asked for something. Returns how to stop. */
  onReset(worker: string, listener: () => void): Promise<() => Promise<void>>;
}
