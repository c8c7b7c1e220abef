import type {
  PublishedHead,
  PublishedVersion,
  SignedPackage,
  VersionContent,
  VersionState,
  WeightFile,
} from "./published-version.ts";

/** A version to be published. Its weights are in the object store already. */
export interface NewVersion {
  model: VersionContent;
  files: WeightFile[];
  /** Absent: its package has no signature. */
  signed?: SignedPackage;
  state: Exclude<VersionState, "removed">;
  pushedBy: string;
  /** The push that uploaded the weights. */
  pushId: string;
}

/** The result of `ModelVersionStore.publish`. */
export type PublishResult =
  | { done: "published"; head: PublishedHead }
  /**
   * It was published already, with the same content. If it had been removed, it is back; if its signature is
   * another one, it has the new one.
   */
  | { done: "unchanged"; head: PublishedHead }
  /** This version is published with different content. */
  | { done: "taken"; digest: string };

/**
 * Stores the published versions. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface ModelVersionStore {
  /** Lists every version, whatever its state, in no order. */
  heads(): Promise<PublishedHead[]>;
  content(endpoint: string, version: string): Promise<PublishedVersion | undefined>;

  /**
   * Publishes a version, all or nothing. Publishes for one endpoint run one after the other.
   *
   * @param check is called with the endpoint's other versions as they are at that moment; throws to refuse
   */
  publish(version: NewVersion, check: (others: PublishedVersion[]) => void): Promise<PublishResult>;

  /**
   * Changes a version's state. Rejects with `precondition_failed` when its revision is no longer the given
   * one, and with `rollout_running` when a rollout needs the version as it is.
   *
   * @param revision the revision that was read; absent: any
   * @returns the version before and after; `undefined` when there is no such version
   */
  setState(
    endpoint: string,
    version: string,
    state: VersionState,
    revision?: number,
  ): Promise<{ before: PublishedHead; after: PublishedHead } | undefined>;

  /** Records that a push is about to put an object into the object store. */
  beginUpload(pushId: string, objectKey: string): Promise<void>;
  /**
   * Abandons a push that was refused, or whose content was published before, and returns the keys of its
   * objects that nothing else needs. Nothing of the push is published from then on: a publish under way is
   * waited for, and a later one rejects with `upload_interrupted`.
   */
  abandonPush(pushId: string): Promise<string[]>;
  /** Does the same for all pushes that began before a moment: their processes were killed. */
  abandoned(beforeMs: number): Promise<string[]>;
  /**
   * Gives up the weights of versions that were removed before a moment, unless another version shares them:
   * `abandoned` returns them from then on. Returns their number.
   */
  releaseWeights(removedBeforeMs: number): Promise<number>;
  /** Forgets an upload whose object has been deleted. */
  forgetUpload(objectKey: string): Promise<void>;
}
