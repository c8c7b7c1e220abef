import type { Context } from "hono";
import { isStoreFailure } from "../../core/errors/store-failure.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { assertEndpointPermitted } from "../../core/owners/key-permissions.ts";
import type { QueuePath } from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson } from "../http/answer-json.ts";
import { setRequestId } from "../http/request-id.ts";
import { createFindRequest, type FoundRequest } from "../requests/find-request.ts";

/**
 * Cancels a request, waiting or running (contract §2.5). 202 when the cancel was accepted, 400
 * `ALREADY_COMPLETED` when the request had ended, 404 when it is unknown or another owner's. Temporal alone
 * suffices for a job that runs: a cancel changes no end that was told before.
 */
export function createCancel(
  api: Pick<ApiDependencies, "clock" | "keyRing" | "events" | "requests" | "jobs">,
) {
  const findRequest = createFindRequest(api);
  return async (c: Context, { endpoint, requestId }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c), endpoint);
    const found = await findRequest(caller, requestId ?? "").catch((error) => {
      if (!isStoreFailure(error)) throw error;
      return findRunning(api, { caller, requestId: requestId ?? "" }, error);
    });
    setRequestId(c, found.requestId);
    if (found.state === "COMPLETED") throw new TemperaError("request_finished");
    // Temporal first, as the durable record; then the announcement, which reaches the engine in milliseconds.
    if ((await api.jobs.cancel(found.requestId, found.node)) !== "requested")
      throw new TemperaError("request_finished");
    await api.events.announceCancel(found.requestId).catch(() => {});
    return answerJson(c, { status: "CANCELLATION_REQUESTED" }, 202);
  };
}

/** Finds a job that runs in Temporal. Throws `unknown` when Temporal alone cannot tell. */
async function findRunning(
  { jobs }: Pick<ApiDependencies, "jobs">,
  { caller, requestId }: { caller: Pick<Caller, "ownerId" | "permissions">; requestId: string },
  unknown: TemperaError,
): Promise<Pick<FoundRequest, "requestId" | "state" | "node">> {
  const job = await jobs.describe(requestId.toLowerCase());
  if (!job || job.recording || job.state === "COMPLETED") throw unknown;
  if (job.ownerId !== caller.ownerId) throw new TemperaError("request_unknown");
  assertEndpointPermitted(caller, job.endpoint);
  return job;
}
