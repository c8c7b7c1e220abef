/** A node state is the state of one node of a pipeline's request, as the caller sees it. */
import type { ErrorInfo } from "../errors/tempera-error.ts";
import type { LoggedEvent, RequestEvent } from "../requests/events.ts";
import type { PipelineRun } from "./pipeline-run-store.ts";

export interface NodeState {
  node: string;
  endpoint: string;
  /** Request id of the node; for a reused result, of the request that produced it. */
  requestId: string;
  ended: boolean;
  /** For a node with an output: `hit` when it is a reused one. */
  cache?: "hit" | "miss";
  error?: ErrorInfo;
}

/** Returns the nodes after an event, in the order of their begin. Events of other types change nothing. */
export function afterEvent(nodes: readonly NodeState[], event: RequestEvent): readonly NodeState[] {
  if (event.type !== "node") return nodes;
  const { node, endpoint, requestId } = event;
  const state: NodeState = {
    node,
    endpoint,
    requestId,
    ended: event.change !== "submitted",
    ...(event.change === "completed" && { cache: event.cache }),
    ...(event.change === "failed" && { error: event.error }),
  };
  const index = nodes.findIndex((before) => before.node === node);
  return index < 0 ? [...nodes, state] : nodes.with(index, state);
}

/** Computes the states of all nodes that have begun, from the events. */
export function nodesOfEvents(events: readonly LoggedEvent[]): readonly NodeState[] {
  return events.reduce<readonly NodeState[]>((nodes, { event }) => afterEvent(nodes, event), []);
}

/** Computes the same from the records, when the events are lost. */
export function nodesOfRecords(runs: readonly PipelineRun[]): NodeState[] {
  return runs.flatMap(({ job: { node, endpoint, requestId }, outcome }) =>
    node
      ? [
          {
            node: node.id,
            endpoint,
            requestId,
            ended: outcome !== undefined,
            ...(outcome?.ok && { cache: outcome.cache ?? ("miss" as const) }),
            ...(outcome && !outcome.ok && { error: outcome.error }),
          },
        ]
      : [],
  );
}
