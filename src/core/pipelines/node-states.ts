/** The nodes of a pipeline's request, as its caller is shown them. */
import type { ErrorInfo } from "../errors/tempera-error.ts";
import type { LoggedEvent, RequestEvent } from "../requests/events.ts";
import type { PipelineRun } from "./pipeline-run-store.ts";

export interface NodeState {
  node: string;
  endpoint: string;
  /** Its own request; of a result that was kept, the one that made it. */
  requestId: string;
  ended: boolean;
  /** Of one that gave its output: whether that is an earlier one. */
  cache?: "hit" | "miss";
  error?: ErrorInfo;
}

/**
 * The nodes after one more event, in the order in which they were begun. Every other event leaves them as
 * they are.
 */
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
  const at = nodes.findIndex((before) => before.node === node);
  return at < 0 ? [...nodes, state] : nodes.with(at, state);
}

/** Each node that was begun, as far as these events tell. */
export const nodesOfEvents = (events: readonly LoggedEvent[]): readonly NodeState[] =>
  events.reduce<readonly NodeState[]>((nodes, { event }) => afterEvent(nodes, event), []);

/** The same of the records, for when the events are gone. */
export const nodesOfRecords = (runs: readonly PipelineRun[]): NodeState[] =>
  runs.flatMap(({ job: { node, endpoint, requestId }, outcome }) =>
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
