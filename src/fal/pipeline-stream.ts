/** The events of a pipeline's stream (contract §11.5): pure translation. */
import type { JsonObject } from "../core/json/json.ts";

/** A node as events name it. */
export interface StreamedNode {
  node: string;
  endpoint: string;
  requestId: string;
}

export const nodeSubmitEvent = ({ node, endpoint, requestId }: StreamedNode): JsonObject => ({
  type: "submit",
  node_id: node,
  app_id: endpoint,
  request_id: requestId,
});

export const nodeCompletionEvent = ({ node, endpoint }: StreamedNode, output: JsonObject): JsonObject => ({
  type: "completion",
  node_id: node,
  app_id: endpoint,
  output,
});

export const pipelineOutputEvent = (output: JsonObject): JsonObject => ({ type: "output", output });

/** @param node empty when the failure is not a node's */
export function pipelineErrorEvent(
  node: string,
  { status, body }: { status: number; body: JsonObject },
): JsonObject {
  const message = typeof body.detail === "string" ? body.detail : `Invalid status code: ${status}`;
  return { type: "error", node_id: node, message, error: { status, body } };
}
