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
    const isWhole = found.doubt === undefined && logged.length > 0;
    if (isWhole && logged.every(({ ended }) => ended || found.state !== "COMPLETED")) return logged;
    // The log is unavailable, has lost the request, or may lack events of it.
    const recorded = nodesOfRecords(await pipelineRuns.nodes(found.requestId));
    const ended = new Set(logged.flatMap((node) => (node.ended ? [node.node] : [])));
    const newer = recorded.filter((node) => node.ended || !ended.has(node.node));
    const known = new Map([...logged, ...newer].map((node) => [node.node, node]));
    return [...known.values()];
  };
}
