import type { Context } from "hono";
import type { NodeState } from "../../core/pipelines/node-states.ts";
import { readLogLines } from "../../core/requests/event-log.ts";
import type { LoggedEvent } from "../../core/requests/events.ts";
import {
  type QueuePath,
  type StatusView,
  statusBody,
  statusCode,
  wantsLogs,
  wantsNodes,
} from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import { setRequestId } from "../http/request-id.ts";
import { createFindRequest, type FoundRequest } from "../requests/find-request.ts";
import { createFindNodes } from "./pipeline-status.ts";

/**
 * Answers with a request's status: 202 while it waits or runs, 200 once it has ended, 404 when it is unknown
 * or another owner's.
 */
export function createStatus(
  api: Pick<
    ApiDependencies,
    "clock" | "keyRing" | "events" | "requests" | "pipelineRuns" | "jobs" | "publicUrl"
  >,
) {
  const findRequest = createFindRequest(api);
  const findNodes = createFindNodes(api);
  return async (c: Context, { endpoint, requestId }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c), endpoint);
    const found = await findRequest(caller, requestId ?? "");
    const logs = wantsLogs(c.req.query("logs"))
      ? (found.logs ?? (await readLogLines(api.events, found.requestId)))
      : undefined;
    const nodes = wantsNodes(c.req.query("nodes")) ? await findNodes(found) : undefined;
    setRequestId(c, found.requestId);
    return answerJson(
      c,
      statusBody(addressOf(c, "queue", api.publicUrl), statusView(found, logs, nodes)),
      statusCode(found.state),
    );
  };
}

/** Builds the view of a request. Fields are copied one by one, since every status poll does this. */
export function statusView(
  found: FoundRequest,
  logs: LoggedEvent[] | undefined,
  nodes?: readonly NodeState[],
): StatusView {
  const { requestId, endpoint, state, position, metrics, progress, error, rerunOf } = found;
  const view: StatusView = { requestId, endpoint, state, position, metrics };
  if (progress) view.progress = progress;
  if (error) view.error = error;
  if (logs) view.logs = logs;
  if (nodes) view.nodes = nodes;
  if (rerunOf !== undefined) view.rerunOf = rerunOf;
  return view;
}
