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

export interface PipelineEventSinkDependencies {
  events: Pick<EventLog, "append" | "announceCancel">;
  requests: Pick<RequestStore, "insert">;
  log: Log;
  /** This process, as the events name it. */
  identity: string;
}

/** A pipeline has one attempt: only its nodes are retried. */
const ATTEMPT = 1;

/**
 * Creates the sink. Its functions return at once and write in the background; `stop` drops the rows that are
 * not written yet.
 */
export function createPipelineEventSink({
  events,
  requests,
  log,
  identity,
}: PipelineEventSinkDependencies): PipelineEventSink & { stop(): void } {
  const rows = new DelayedRows(requests, log);
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
  const appendNode = (pipeline: RequestIdentity, node: PipelineNode, change: NodeChange): void =>
    append(pipeline, { type: "node", attempt: ATTEMPT, ...node, ...change });

  return {
    started(pipeline) {
      append(pipeline, { type: "started", attempt: ATTEMPT, worker: identity });
    },

    submitted(pipeline, node, job) {
      append(job, { type: "queued", attempt: 0 });
      appendNode(pipeline, node, { change: "submitted" });
      rows.insertLater(job);
    },

    reused(pipeline, node, output, nodes) {
      appendNode(pipeline, node, { change: "submitted" });
      appendNode(pipeline, node, { change: "completed", output, cache: "hit", nodes });
    },

    ended(pipeline, node, change) {
      rows.cancel(node.requestId);
      if (change.change === "failed" && change.error.code === "client_cancelled") {
        // Temporal notifies the GPU worker at its next heartbeat; this does it within milliseconds.
        events.announceCancel(node.requestId).catch(() => {});
      }
      appendNode(pipeline, node, change);
    },

    stop: () => rows.stop(),
  };
}

/**
 * Rows of nodes. A row is inserted when its node still runs after a while, which spares quick nodes one
 * write.
 */
class DelayedRows {
  readonly #requests: Pick<RequestStore, "insert">;
  readonly #log: Log;
  /** By request id. */
  readonly #timers = new Map<string, NodeJS.Timeout>();

  constructor(requests: Pick<RequestStore, "insert">, log: Log) {
    this.#requests = requests;
    this.#log = log;
  }

  insertLater(job: JobSpec): void {
    const timer = setTimeout(() => void this.#insert(job), LIMITS.nodeRecordAfterMs);
    this.#timers.set(job.requestId, timer.unref());
  }

  cancel(requestId: string): void {
    clearTimeout(this.#timers.get(requestId));
    this.#timers.delete(requestId);
  }

  stop(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
  }

  async #insert(job: JobSpec): Promise<void> {
    this.#timers.delete(job.requestId);
    await this.#requests
      .insert(job)
      .catch((error) =>
        this.#log.warn(
          { requestId: job.requestId, err: errorInfo(error) },
          "the row of a node was not inserted; its outcome will insert it",
        ),
      );
  }
}
