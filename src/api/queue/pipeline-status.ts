import { type NodeState, nodesOfEvents, nodesOfRecords } from "../../core/pipelines/node-states.ts";
import { PIPELINE_QUEUE } from "../../core/pipelines/pipeline.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { FoundRequest } from "../requests/find-request.ts";

export function isPipeline({ taskQueue }: Pick<FoundRequest, "taskQueue">): boolean {
  return taskQueue === PIPELINE_QUEUE;
}

/**
 * Makes the function that finds the nodes of a pipeline's request: in the event log, else in the records.
 * `undefined` for a model's request. It reads the request's whole log, so it serves only callers who want the
 * nodes.
 */
export function createFindNodes({ events, pipelineRuns }: Pick<ApiDependencies, "events" | "pipelineRuns">) {
  return async function findNodes(found: FoundRequest): Promise<readonly NodeState[] | undefined> {
    if (!isPipeline(found)) return undefined;
    const logged = nodesOfEvents(await events.read(found.requestId).catch(() => []));
    if (logged.length > 0 && logged.every(({ ended }) => ended || found.state !== "COMPLETED")) return logged;
    // The log is unavailable, or has lost the request.
    const recorded = nodesOfRecords(await pipelineRuns.nodes(found.requestId));
    const known = new Map([...logged, ...recorded].map((node) => [node.node, node]));
    return [...known.values()];
  };
}
