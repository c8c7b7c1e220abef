import type { ModelVersion } from "../models/model.ts";
import type { CrashRecord } from "./crash.ts";

type Named = Pick<ModelVersion, "endpoint" | "version">;

/** A crash record to be stored. `begunMsAgo` is the time since its request began on the engine. */
export type NewCrashRecord = Omit<CrashRecord, "ageMs"> & { begunMsAgo: number };

/**
 * The crash store keeps the crash records of all GPU workers for `LIMITS.crashKeptMs`, so that they outlive a
 * worker and every worker judges alike. An operator's reset of a model (`EngineStatusStore.requestReset`)
 * deletes its records.
 *
 * Every method rejects with `store_unavailable` when the store cannot be reached.
 */
export interface CrashStore {
  /**
   * Stores the records of a crash, at most `LIMITS.crashRecordsOfOwnerMax` of one owner and model: the oldest
   * make room. A request that began before the last reset of its model leaves no record.
   */
  record(records: readonly NewCrashRecord[]): Promise<void>;
  /** Notes that an input has run to an end. */
  clear(of: Named & Pick<CrashRecord, "ownerId" | "inputDigest">): Promise<void>;
  /**
   * Deletes the records of an owner and model version, of one input or of all. Resolves with their number.
   */
  forget(of: Named & Pick<CrashRecord, "ownerId"> & { inputDigest?: string }): Promise<number>;
  /** Lists the records of the last `LIMITS.crashKeptMs`. */
  list(): Promise<CrashRecord[]>;
  /** Calls `listener` after each change, also one that was missed. Returns how to stop. */
  onChange(listener: () => void): Promise<() => Promise<void>>;
}
