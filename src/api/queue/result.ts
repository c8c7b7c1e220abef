import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { assertEndpointPermitted } from "../../core/owners/key-permissions.ts";
import { isRequestId, type Outcome } from "../../core/requests/request.ts";
import type { QueuePath } from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { OutputAddressDependencies } from "../http/output-addresses.ts";
import { setRequestId } from "../http/request-id.ts";
import { answerOutcome } from "../requests/answer-outcome.ts";
import { createFindRequest } from "../requests/find-request.ts";

/**
 * Answers with a finished request's outcome: the model's bare output, or its error with the error's own
 * status. 400 while the request is unfinished, 404 when it is unknown or another owner's.
 */
export function createResult(
  api: Pick<ApiDependencies, "clock" | "keyRing" | "events" | "requests" | "jobs" | "objects" | "budgets"> &
    OutputAddressDependencies,
) {
  const findRequest = createFindRequest(api);
  return async (c: Context, { endpoint, requestId }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c), endpoint);
    // The outcome of an ended request is usually one read of the event log; else the other stores are read.
    const id = (requestId ?? "").toLowerCase();
    const ended = isRequestId(id) ? await api.events.outcome(id).catch(() => undefined) : undefined;
    if (ended && ended.snapshot.ownerId !== caller.ownerId) throw new TemperaError("request_unknown");
    if (ended) {
      assertEndpointPermitted(caller, ended.snapshot.endpoint);
      setRequestId(c, ended.snapshot.requestId);
    }
    const outcome = ended?.outcome ?? (await findOutcome(c, caller, id));
    return answerOutcome(c, api, { outcome, ownerId: caller.ownerId });
  };

  async function findOutcome(c: Context, caller: Caller, id: string): Promise<Outcome> {
    const found = await findRequest(caller, id);
    setRequestId(c, found.requestId);
    if (found.state !== "COMPLETED") throw new TemperaError("request_unfinished");
    const known =
      found.outcome ??
      (await api.requests.find(found.requestId))?.outcome ??
      (await api.jobs.outcome(found.requestId));
    if (!known)
      throw new TemperaError("store_unavailable", "The result cannot be read right now. Try again.");
    return known;
  }
}
