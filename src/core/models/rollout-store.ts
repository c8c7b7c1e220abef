import type { Rollout, RolloutRules, VersionRecord } from "./rollout.ts";

export interface NewRollout {
  endpoint: string;
  /** The newest enabled version before the rollout. */
  fromVersion: string;
  /** `fromVersion` is in the models folder and cannot be disabled. */
  fromFolder?: boolean;
  /** A published version; the start of the rollout enables it. */
  toVersion: string;
  share: number;
  rules?: RolloutRules;
  startedBy: string;
}

/** Stores the rollouts. Every method rejects with `store_unavailable` when PostgreSQL cannot be reached. */
export interface RolloutStore {
  /** Lists the running rollouts and the last hundred that ended, newest first. */
  list(): Promise<Rollout[]>;
  /**
   * Starts a rollout. Rejects with `rollout_running` when the endpoint has one already, `version_unknown`
   * when there is no `toVersion` to enable, and `rollout_invalid` when `fromVersion` no longer serves the
   * endpoint.
   */
  start(rollout: NewRollout): Promise<Rollout>;
  /**
   * Changes the share of a running rollout. Returns `undefined` when it is not running.
   *
   * @param revision the revision that was read; rejects with `precondition_failed` when it has changed since
   */
  setShare(
    rolloutId: string,
    share: number,
    revision?: number,
  ): Promise<{ before: Rollout; after: Rollout } | undefined>;
  /**
   * Ends a running rollout; one that is rolled back has its newer version disabled in the same step. Returns
   * `undefined` when it is not running.
   */
  end(
    rolloutId: string,
    end: { state: "promoted" | "rolled_back"; reason: string },
    revision?: number,
  ): Promise<{ before: Rollout; after: Rollout } | undefined>;

  /**
   * Claims the running rollouts whose rules have not been checked for `everyMs`: of several callers, one gets
   * each.
   */
  due(everyMs: number): Promise<Rollout[]>;
  /** Counts the ended requests of a version since a moment. */
  record(endpoint: string, version: string, sinceMs: number): Promise<VersionRecord>;
}
