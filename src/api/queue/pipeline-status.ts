import { type NodeState, nodesOfEvents, nodesOfRecords } from "../../core/pipelines/node-states.ts";
import { PIPELINE_QUEUE } from "../../core/pipelines/pipeline.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { FoundRequest } from "../requests/find-request.ts";

export const isPipeline = ({ taskQueue }: Pick<FoundRequest, "taskQueue">): boolean =>
  taskQueue === PIPELINE_QUEUE;

/**
 * The nodes of a pipeline's request: those the event log tells of, else those on record. `undefined` for a
 * model's request. It reads everything that happened to the request, so it is for callers who ask for it.
 */
export const createFindNodes =
  ({ events, pipelineRuns }: Pick<ApiDependencies, "events" | "pipelineRuns">) =>
  async (found: FoundRequest): Promise<readonly NodeState[] | undefined> => {
    if (!isPipeline(found)) return undefined;
    const told = nodesOfEvents(await events.read(found.requestId).catch(() => []));
    if (told.length > 0 && told.every(({ ended }) => ended || found.state !== "COMPLETED")) return told;
    // The log was away, or has forgotten it.
    const recorded = nodesOfRecords(await pipelineRuns.nodes(found.requestId));
    const known = new Map([...told, ...recorded].map((node) => [node.node, node]));
    return [...known.values()];
  };
