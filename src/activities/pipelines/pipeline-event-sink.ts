/**
 * The event sink of pipelines: while a pipeline runs, its workflow announces what happens to it and to its
 * nodes, and callers see these events and rows. The workflow calls it through Temporal's sinks, so that it
 * adds no step to the history. Events that are lost with this process are made good by the recorded outcomes.
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

/** A node in the events of its pipeline. */
export interface PipelineNode {
  node: string;
  endpoint: string;
  requestId: string;
}

export type PipelineEventSink = {
  /** The pipeline's workflow has started. */
  started(pipeline: RequestIdentity): void;
  /** A node's request was created and waits for a GPU worker. */
  submitted(pipeline: RequestIdentity, node: PipelineNode, job: JobSpec): void;
  /** A node does not run: its output is the one of an earlier run. */
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
 * Creates the sink. Its functions return at once and write in the background; `stop` drops the rows that are
 * not written yet.
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
  /** This process, as the events name it. */
  identity: string;
}): PipelineEventSink & { stop(): void } {
  const rows = new Map<string, NodeJS.Timeout>();

  const append = (request: RequestIdentity, event: Exclude<RequestEvent, { type: "done" }>): void => {
    events
      .append(request, event)
      .catch((error) =>
        log.warn(
          { requestId: request.requestId, err: errorInfo(error) },
          "the event log did not append an event of a pipeline",
        ),
      );
  };
  /** Inserts a node's row if the node still runs after a while, which spares quick nodes one write. */
  const insertLater = (job: JobSpec): void => {
    const timer = setTimeout(() => {
      rows.delete(job.requestId);
      requests
        .insert(job)
        .catch((error) =>
          log.warn(
            { requestId: job.requestId, err: errorInfo(error) },
            "the row of a node was not inserted; its outcome will insert it",
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
      insertLater(job);
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
        // Temporal notifies the GPU worker at its next heartbeat; this does it within milliseconds.
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

/** A pipeline has one attempt: only its nodes are retried. */
const ATTEMPT = 1;
