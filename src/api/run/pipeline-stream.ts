import type { RequestEvent } from "../../core/requests/events.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import {
  falError,
  nodeCompletionEvent,
  nodeSubmitEvent,
  pipelineErrorEvent,
  pipelineOutputEvent,
  type StreamedNode,
} from "../../fal/index.ts";
import type { ApiDependencies } from "../dependencies.ts";

/**
 * What the events of a pipeline's job show to who streams it (contract §11.5): each node's submit and
 * completion, then one output or one error. Nodes whose events the log has lost are told of from their
 * records before the end.
 */
export function createPipelineTeller(api: Pick<ApiDependencies, "objects" | "requests">, requestId: string) {
  const submitted = new Set<string>();
  const completed = new Set<string>();

  /** Takes note of an event that the caller was told of before the connection was lost. */
  function known(event: RequestEvent): void {
    if (event.type !== "node") return;
    submitted.add(event.node);
    if (event.change === "completed") completed.add(event.node);
  }

  async function* missing(): AsyncGenerator<JsonObject> {
    const nodes = await api.requests.nodes(requestId).catch(() => []);
    for (const record of nodes) {
      if (!record.node || !record.outcome?.ok) continue;
      const node: StreamedNode = {
        node: record.node.id,
        endpoint: record.endpoint,
        requestId: record.requestId,
      };
      if (completed.has(node.node)) continue;
      if (!submitted.has(node.node)) yield nodeSubmitEvent(node);
      yield nodeCompletionEvent(node, await retrieve<JsonObject>(api.objects, record.outcome.output));
    }
  }

  async function* tell(event: RequestEvent): AsyncGenerator<JsonObject> {
    if (event.type === "node") {
      // A workflow's step that is taken again, since its process died, may say again what it has said.
      const [begun, ended] = [submitted.has(event.node), completed.has(event.node)];
      known(event);
      if (!begun) yield nodeSubmitEvent(event);
      if (event.change === "completed" && !ended)
        yield nodeCompletionEvent(event, await retrieve<JsonObject>(api.objects, event.output));
    }
    if (event.type !== "done") return;
    const { outcome } = event;
    yield* missing();
    if (outcome.ok) yield pipelineOutputEvent(await retrieve<JsonObject>(api.objects, outcome.output));
    else
      yield pipelineErrorEvent(
        outcome.node ?? "",
        falError(outcome.error, { userTimeout: outcome.userTimeout === true }),
      );
  }

  return { known, tell };
}
