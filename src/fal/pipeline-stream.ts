/** Events of a pipeline's stream (contract §11.5). Pure translation. */
import type { JsonObject } from "../core/json/json.ts";

/** The identity of a node in events. */
export interface StreamedNode {
  node: string;
  endpoint: string;
  requestId: string;
}

export function nodeSubmitEvent({ node, endpoint, requestId }: StreamedNode): JsonObject {
  return { type: "submit", node_id: node, app_id: endpoint, request_id: requestId };
}

export function nodeCompletionEvent({ node, endpoint }: StreamedNode, output: JsonObject): JsonObject {
  return { type: "completion", node_id: node, app_id: endpoint, output };
}

export function pipelineOutputEvent(output: JsonObject): JsonObject {
  return { type: "output", output };
}

/** @param node the node that failed; empty when the pipeline failed outside its nodes */
export function pipelineErrorEvent(
  node: string,
  { status, body }: { status: number; body: JsonObject },
): JsonObject {
  const message = typeof body.detail === "string" ? body.detail : `Invalid status code: ${status}`;
  return { type: "error", node_id: node, message, error: { status, body } };
}
