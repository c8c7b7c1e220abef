/**
 * A request is what a client submitted. Its id (UUIDv7) is also the workflow id of its job. Its state is one
 * of three words, fal's own: a failure or a cancel is COMPLETED with an error, and a retry goes back from
 * IN_PROGRESS to IN_QUEUE.
 */
import type { ErrorInfo } from "../errors/tempera-error.ts";
import type { JsonObject, Stored } from "../json/json.ts";
import type { NodeRef } from "../pipelines/pipeline.ts";

export type RequestState = "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED";
export type Priority = "normal" | "low";

/** What every record, event and log line of a request says about where it belongs. */
export interface RequestIdentity {
  requestId: string;
  /** Who may see it: the owner of the key that submitted it. */
  ownerId: string;
  endpoint: string;
  version: string;
  /** The GPU task queue it waits in; queue positions are counted there. */
  taskQueue: string;
  priority: Priority;
  /** The pipeline whose node it is, where it is one's. */
  node?: NodeRef;
  /** The pipeline's request that this one runs again, in part. */
  rerunOf?: string;
}

/** The identity alone, of whatever carries one: a job, a record, a snapshot. */
export const identityOf = ({
  requestId,
  ownerId,
  endpoint,
  version,
  taskQueue,
  priority,
  node,
  rerunOf,
}: RequestIdentity): RequestIdentity => ({
  requestId,
  ownerId,
  endpoint,
  version,
  taskQueue,
  priority,
  ...(node && { node }),
  ...(rerunOf !== undefined && { rerunOf }),
});

/** Where the time of a finished request went, in seconds. */
export interface Metrics {
  /** Seconds of inference on the engine; fal's `metrics.inference_time`. */
  inference_time?: number;
  /** Seconds from submit to the start of the attempt that ended it. */
  queue_time?: number;
}

/** How a job ended. */
export type Outcome =
  | {
      ok: true;
      output: Stored<JsonObject>;
      metrics: Metrics;
      /** What is billed, in the unit of the model's price; absent: 1. */
      units?: number;
      /** Of a node of a pipeline: whether its result is an earlier one. */
      cache?: "hit" | "miss";
    }
  | {
      ok: false;
      error: ErrorInfo;
      metrics: Metrics;
      /** The start deadline was the caller's own (contract §2.1). */
      userTimeout?: boolean;
      /** The node of a pipeline whose failure this is. */
      node?: string;
    };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
export const isRequestId = (id: string): boolean => UUID.test(id);
