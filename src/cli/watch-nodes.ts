import { escapeControl } from "../core/json/escape-control.ts";
import type { NodeStatus, PlatformClient, Status } from "./platform-client.ts";
import { createProgressView } from "./progress-view.ts";

/** A node that has ended, with its queue time and its inference time in seconds. */
export interface EndedNode {
  node: string;
  endpoint: string;
  requestId: string;
  cache: "hit" | "miss" | undefined;
  seconds: { queue: number; inference: number };
}

type Out = Pick<NodeJS.WriteStream, "write" | "isTTY">;

/**
 * Follows a pipeline's request to its end and shows the progress of each node. Returns the last status of the
 * request, and its nodes in the order in which they ended.
 */
export async function watchNodes(
  client: Pick<PlatformClient, "follow">,
  endpoint: string,
  requestId: string,
  out: Out,
): Promise<{ last: Status; nodes: EndedNode[] }> {
  const watched = new Map<string, Promise<Status["metrics"]>>();
  const ended = new Map<string, Promise<EndedNode>>();
  let last: Status | undefined;
  for await (const status of client.follow(endpoint, requestId, { nodes: true })) {
    for (const node of status.nodes ?? []) {
      const watching = watched.get(node.node_id) ?? watchNode(client, node, out);
      watched.set(node.node_id, watching);
      if (node.status === "COMPLETED" && !ended.has(node.node_id)) {
        ended.set(
          node.node_id,
          watching.then((metrics) => showEnd(node, metrics, out)),
        );
      }
    }
    last = status;
  }
  return { last: last as Status, nodes: await Promise.all(ended.values()) };
}

const labelOf = ({ node_id: node }: NodeStatus): string => `${node.padEnd(7)} `;

/** Shows the progress of a node until its own request has ended; returns the metrics of that request. */
async function watchNode(
  client: Pick<PlatformClient, "follow">,
  node: NodeStatus,
  out: Out,
): Promise<Status["metrics"]> {
  out.write(`  ${labelOf(node)}${node.app_id}, request ${node.request_id}\n`);
  const view = createProgressView(out, labelOf(node));
  let metrics: Status["metrics"] = {};
  for await (const status of client.follow(node.app_id, node.request_id)) {
    view.show(status);
    metrics = status.metrics;
  }
  view.end();
  return metrics;
}

function showEnd(
  node: NodeStatus,
  { queue_time: queue = 0, inference_time: inference = 0 }: Status["metrics"],
  out: Out,
): EndedNode {
  const result =
    node.cache === "hit"
      ? "cache hit, the result of a previous request"
      : `cache miss, inference ${inference.toFixed(2)} s, queue ${queue.toFixed(2)} s`;
  const end = node.error === undefined ? `done: ${result}` : `failed: ${escapeControl(node.error)}`;
  out.write(`  ${labelOf(node)}${end}\n`);
  return {
    node: node.node_id,
    endpoint: node.app_id,
    requestId: node.request_id,
    cache: node.cache,
    seconds: { queue, inference },
  };
}
