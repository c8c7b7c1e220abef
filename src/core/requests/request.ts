/**
 * A request is one call of a model or pipeline that a client submitted. Its id (UUIDv7) is also the workflow
 * id of its job. Its state is one of fal's three: a failure or a cancel is COMPLETED with an error, and a
 * retry goes back from IN_PROGRESS to IN_QUEUE.
 *
 * This folder has requests, their jobs, events and records, and realtime sessions.
 */
import type { ErrorInfo } from "../errors/tempera-error.ts";
import type { JsonObject, Stored } from "../json/json.ts";
import type { NodeRef } from "../pipelines/pipeline.ts";

export type RequestState = "IN_QUEUE" | "IN_PROGRESS" | "COMPLETED";
export type Priority = "normal" | "low";

/** The identity of a request, which every record, snapshot and job of it contains. */
export interface RequestIdentity {
  requestId: string;
  /** Owner of the key that submitted it; only this owner may see it. */
  ownerId: string;
  endpoint: string;
  version: string;
  /** The GPU task queue that it waits in; queue positions are counted there. */
  taskQueue: string;
  priority: Priority;
  /** Present when it is a node of a pipeline. */
  node?: NodeRef;
  /** Request id of the pipeline run that this one reruns in part. */
  rerunOf?: string;
}

/** Extracts the identity from a job, a record or a snapshot. */
export function identityOf({
  requestId,
  ownerId,
  endpoint,
  version,
  taskQueue,
  priority,
  node,
  rerunOf,
}: RequestIdentity): RequestIdentity {
  return {
    requestId,
    ownerId,
    endpoint,
    version,
    taskQueue,
    priority,
    ...(node && { node }),
    ...(rerunOf !== undefined && { rerunOf }),
  };
}

/** The times of a finished request, in seconds. */
export interface Metrics {
  /** Seconds of inference on the engine; fal's `metrics.inference_time`. */
  inference_time?: number;
  /** Seconds from submit to the start of the attempt that ended it. */
  queue_time?: number;
}

/** The outcome of a job. */
export type Outcome =
  | {
      ok: true;
      output: Stored<JsonObject>;
      metrics: Metrics;
      /** Billed units, in the unit of the model's price; absent: 1. */
      units?: number;
      /** For a node of a pipeline: `hit` when its result is a reused one. */
      cache?: "hit" | "miss";
    }
  | {
      ok: false;
      error: ErrorInfo;
      metrics: Metrics;
      /** The start deadline was set by the caller (contract §2.1). */
      userTimeout?: boolean;
      /** The node of a pipeline that caused the failure. */
      node?: string;
    };

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i;
export function isRequestId(id: string): boolean {
  return UUID.test(id);
}
