import type {
  PublishedHead,
  PublishedVersion,
  VersionContent,
  VersionState,
  WeightFile,
} from "./published-version.ts";

/** A version that is about to be published. Its weights are in the object store already. */
export interface NewVersion {
  model: VersionContent;
  files: WeightFile[];
  state: Exclude<VersionState, "removed">;
  pushedBy: string;
  /** The push that put the weights there. */
  pushId: string;
}

/** What became of a publish. */
export type PublishResult =
  | { done: "published"; head: PublishedHead }
  /** It was there already, with the same content. A removed one is back. */
  | { done: "unchanged"; head: PublishedHead }
  /** This version is taken by other content. */
  | { done: "taken"; digest: string };

/** The published versions. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface ModelVersionStore {
  /** Every version, whatever its state, in no order. */
  heads(): Promise<PublishedHead[]>;
  content(endpoint: string, version: string): Promise<PublishedVersion | undefined>;

  /**
   * Publishes a version, all or nothing. Who publishes for the same endpoint at the same time waits.
   *
   * @param check sees the endpoint's other versions as they are at that moment, and throws to refuse
   */
  publish(version: NewVersion, check: (others: PublishedVersion[]) => void): Promise<PublishResult>;

  /**
   * Changes a version's state.
   *
   * @param revision the one that was read; absent: whatever it is
   * @returns what it was and is; `undefined` when there is none; rejects with `precondition_failed` when it has another revision by now, and
   * with `rollout_running` when a rollout needs it as it is
   */
  setState(
    endpoint: string,
    version: string,
    state: VersionState,
    revision?: number,
  ): Promise<{ before: PublishedHead; after: PublishedHead } | undefined>;

  /** Writes down that a push is about to put an object into the object store. */
  beginUpload(pushId: string, objectKey: string): Promise<void>;
  /**
   * What a push put there and nobody needs: it was refused, or the same content was there before. Nothing of
   * it is published from then on: a publish that is still under way is waited for, and one that comes later
   * rejects with `upload_interrupted`.
   */
  leftOver(pushId: string): Promise<string[]>;
  /** The same, in the same way, of all pushes that began before a moment: their processes were killed. */
  abandoned(beforeMs: number): Promise<string[]>;
  /**
   * Lets the weights go of versions that were removed before a moment, as far as no other version has the
   * same: from then on they are abandoned. Returns how many.
   */
  releaseWeights(removedBeforeMs: number): Promise<number>;
  /** The object is deleted. */
  forgetUpload(objectKey: string): Promise<void>;
}
