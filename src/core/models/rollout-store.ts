import type { Rollout, RolloutRules, VersionRecord } from "./rollout.ts";

export interface NewRollout {
  endpoint: string;
  /** The newest enabled version before. */
  fromVersion: string;
  /** It lies in the models folder, where nobody can disable it. */
  fromFolder?: boolean;
  /** A published version; enabled in the same moment. */
  toVersion: string;
  share: number;
  rules?: RolloutRules;
  startedBy: string;
}

/** The rollouts. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface RolloutStore {
  /** The running ones and the last hundred that ended, newest first. */
  list(): Promise<Rollout[]>;
  /**
   * Starts one. Rejects with `rollout_running` when the endpoint has one already, `version_unknown` when
   * there is no such version to enable, and `rollout_invalid` when `fromVersion` is not what serves any more.
   */
  start(rollout: NewRollout): Promise<Rollout>;
  /**
   * Changes the share of a running one. `undefined`: there is none that runs.
   *
   * @param revision the one that was read; rejects with `precondition_failed` when it is another by now
   */
  setShare(
    rolloutId: string,
    share: number,
    revision?: number,
  ): Promise<{ before: Rollout; after: Rollout } | undefined>;
  /**
   * Ends a running one; rolled back, its newer version is disabled in the same moment. `undefined`: there is
   * none that runs.
   */
  end(
    rolloutId: string,
    end: { state: "promoted" | "rolled_back"; reason: string },
    revision?: number,
  ): Promise<{ before: Rollout; after: Rollout } | undefined>;

  /**
   * Takes the running ones with rules that nobody has looked at for `everyMs`: each is handed to one of those
   * who ask.
   */
  due(everyMs: number): Promise<Rollout[]>;
  /** What a version did since a moment. */
  record(endpoint: string, version: string, sinceMs: number): Promise<VersionRecord>;
}
