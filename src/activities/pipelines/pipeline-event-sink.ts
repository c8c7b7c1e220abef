/**
 * What the workflow of a pipeline says of itself and its nodes while it runs: the events and rows that
 * callers look at meanwhile. Called by the workflow through sinks, so that it costs a node no step of
 * Temporal. All of it is freshness: what is lost with this process is made good by the outcomes' records.
 */
import { errorInfo } from "../../core/errors/tempera-error.ts";
import type { JsonObject, Stored } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { NodeChange, RequestEvent } from "../../core/requests/events.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { RequestIdentity } from "../../core/requests/request.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";

/** A node as its pipeline tells of it. */
export interface PipelineNode {
  node: string;
  endpoint: string;
  requestId: string;
}

export type PipelineEventSink = {
  /** The pipeline's workflow has taken its first step. */
  started(pipeline: RequestIdentity): void;
  /** A node's request was made and waits for a GPU. */
  submitted(pipeline: RequestIdentity, node: PipelineNode, job: JobSpec): void;
  /** A node need not run: this is what it gave in an earlier run. */
  reused(
    pipeline: RequestIdentity,
    node: PipelineNode,
    output: Stored<JsonObject>,
    nodes: { done: number; of: number },
  ): void;
  /** A node has ended. */
  ended(pipeline: RequestIdentity, node: PipelineNode, change: NodeChange): void;
};

/**
 * The same, to be called with the identity of who writes. Each returns at once; the work goes on behind it.
 */
export function createPipelineEventSink({
  events,
  requests,
  log,
  identity,
}: {
  events: Pick<EventLog, "append" | "announceCancel">;
  requests: Pick<RequestStore, "insert">;
  log: Log;
  identity: string;
}): PipelineEventSink & { stop(): void } {
  const rows = new Map<string, NodeJS.Timeout>();

  const append = (request: RequestIdentity, event: Exclude<RequestEvent, { type: "done" }>): void => {
    events
      .append(request, event)
      .catch((error) =>
        log.warn(
          { requestId: request.requestId, err: errorInfo(error) },
          "the event log did not take a pipeline's event",
        ),
      );
  };
  /** The node's row, when it is still running after a while: a quick one has a write less. */
  const recordLater = (job: JobSpec): void => {
    const timer = setTimeout(() => {
      rows.delete(job.requestId);
      requests
        .insert(job)
        .catch((error) =>
          log.warn(
            { requestId: job.requestId, err: errorInfo(error) },
            "a node's row was not inserted; its end will",
          ),
        );
    }, LIMITS.nodeRecordAfterMs);
    rows.set(job.requestId, timer.unref());
  };

  return {
    started(pipeline) {
      append(pipeline, { type: "started", attempt: ATTEMPT, worker: identity });
    },

    submitted(pipeline, node, job) {
      append(job, { type: "queued", attempt: 0 });
      append(pipeline, { type: "node", attempt: ATTEMPT, ...node, change: "submitted" });
      recordLater(job);
    },

    reused(pipeline, node, output, nodes) {
      append(pipeline, { type: "node", attempt: ATTEMPT, ...node, change: "submitted" });
      append(pipeline, {
        type: "node",
        attempt: ATTEMPT,
        ...node,
        change: "completed",
        output,
        cache: "hit",
        nodes,
      });
    },

    ended(pipeline, node, change) {
      clearTimeout(rows.get(node.requestId));
      rows.delete(node.requestId);
      if (change.change === "failed" && change.error.code === "client_cancelled") {
        // Temporal tells a GPU worker of it at its next heartbeat; this does within milliseconds.
        events.announceCancel(node.requestId).catch(() => {});
      }
      append(pipeline, { type: "node", attempt: ATTEMPT, ...node, ...change });
    },

    stop() {
      for (const timer of rows.values()) clearTimeout(timer);
      rows.clear();
    },
  };
}

/** A pipeline is not tried again as a whole. */
const ATTEMPT = 1;
