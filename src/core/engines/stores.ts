import type { CrashStore } from "./crash-store.ts";
import type { EngineStatusStore } from "./engine-status-store.ts";

/** The durable stores of engines. */
export interface EngineStores {
  /** Status reports of GPU workers, and what operators ask of them. */
  engines: EngineStatusStore;
  /** The requests that were on engines which crashed. */
  crashes: CrashStore;
}
