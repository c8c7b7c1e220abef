import type { Engines } from "../../core/engines/engine.ts";
import type { NameArtifact } from "../../core/files/artifact.ts";
import type { FileStore } from "../../core/files/file-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";
import type { CheckNode } from "../pipelines/check-node.ts";
import type { NodeCache } from "../pipelines/node-cache.ts";
import type { ByteBudget } from "./byte-budget.ts";
import type { FetchInput } from "./input-files.ts";
import type { createRecordOutcome } from "./record-outcome.ts";
import type { RunningRequests } from "./running-requests.ts";

/** The ports of the inference activity. */
export interface InferDependencies {
  /** The pool that runs models on this worker's device. */
  engines: Engines;
  events: EventLog;
  /** Read by a retried attempt, for an outcome that the event log has lost. */
  requests: Pick<RequestStore, "find">;
  objects: ObjectStore;
  /** The records of produced files that have a lifecycle, and the count of all other objects. */
  files: Pick<FileStore, "begin" | "claim" | "store" | "countObject" | "uncountObjects">;
  clock: Clock;
  /** Cancels, as the event log announces them within milliseconds. */
  running: RunningRequests;
  /** Checks the input that a pipeline's workflow gave to a node. */
  checkNode: CheckNode;
  /** Downloads the files that an input names. */
  fetchInput: FetchInput;
  /** Earlier results of nodes. */
  nodeCache: Pick<NodeCache, "lookUp">;
  /** The finish step, taken here when the model returned an output. */
  recordOutcome: ReturnType<typeof createRecordOutcome>;
  /** Bounds of the files that runs produce. */
  output: OutputBounds;
  /** Names the files that need no record. */
  nameArtifact: NameArtifact;
  /** Base of the URLs under which files are served. */
  filesUrl: string;
  storeWait: StorePatience;
}

/** Bounds of the files that runs produce. */
export interface OutputBounds {
  /** Memory for files on their way to the store, which all runs of this worker share. */
  keptBytes: ByteBudget;
  /** Bytes of all files of one request together. */
  outputBytesMax: number;
}

/** Longest waits of jobs for stores that take no writes or are away, in milliseconds. */
export interface StorePatience {
  /** Longest time that one attempt keeps a result that a store does not take. */
  resultMs: number;
  /** Longest time of all waits of a job, after which it ends as a dead letter. */
  jobMs: number;
}

export interface InferResult {
  outcome: Outcome;
  attempt: number;
  startedAtMs?: number;
  /** The outcome is in PostgreSQL already: the finish step has nothing left to do. */
  recorded?: boolean;
}
