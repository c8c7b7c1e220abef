import { retrieve, type ValueSource } from "../../core/files/stored-value.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { RequestEvent } from "../../core/requests/events.ts";
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
 * Translates the events of a pipeline's job for its stream (contract §11.5): each node's submit and
 * completion, then one output or one error. Nodes whose events the log has lost are added from their records
 * before the end.
 */
export function createPipelineStream(
  api: Pick<ApiDependencies, "requests"> & { objects: ValueSource },
  requestId: string,
) {
  const submitted = new Set<string>();
  const completed = new Set<string>();

  /** Notes an event that the caller received before its connection was lost. */
  function markSent(event: RequestEvent): void {
    if (event.type !== "node") return;
    submitted.add(event.node);
    if (event.change === "completed") completed.add(event.node);
  }

  async function* missingNodes(): AsyncGenerator<JsonObject> {
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

  async function* translate(event: RequestEvent): AsyncGenerator<JsonObject> {
    if (event.type === "node") {
      // A step of a workflow that is repeated, because its process died, repeats its events too.
      const [wasSubmitted, wasCompleted] = [submitted.has(event.node), completed.has(event.node)];
      markSent(event);
      if (!wasSubmitted) yield nodeSubmitEvent(event);
      if (event.change === "completed" && !wasCompleted)
        yield nodeCompletionEvent(event, await retrieve<JsonObject>(api.objects, event.output));
    }
    if (event.type !== "done") return;
    const { outcome } = event;
    yield* missingNodes();
    if (outcome.ok) yield pipelineOutputEvent(await retrieve<JsonObject>(api.objects, outcome.output));
    else
      yield pipelineErrorEvent(
        outcome.node ?? "",
        falError(outcome.error, { userTimeout: outcome.userTimeout === true }),
      );
  }

  return { markSent, translate };
}
