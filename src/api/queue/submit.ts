import type { Context } from "hono";
import { appOf } from "../../core/models/endpoint.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { taskQueueOf } from "../../core/models/model.ts";
import { PIPELINE_QUEUE } from "../../core/pipelines/pipeline.ts";
import { type QueuePath, submitBody } from "../../fal/index.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerStanding } from "../requests/answer-existing.ts";
import { createClaimRequest } from "../requests/claim-request.ts";
import { type Intake, queueJob, readIntake } from "../requests/submission.ts";
import { bodyOfCall } from "../http/request-body.ts";
import type { Held } from "../limits/usage-counter.ts";
import { readJsonBody } from "../http/read-body.ts";
import { requestIdOf } from "../http/request-id.ts";
import { callerRoute, refuseBehaviourOff } from "../requests/caller-route.ts";

/**
 * Accepts a request: 200 once Temporal has its job (design §4, step 1). One that was submitted before under
 * the same idempotency key is answered with itself.
 *
 * Refused before anything is queued: 401 the key, 404 the endpoint, 413/400 the body, 422 an input that does
 * not fit the model or an idempotency key that was another input's, 429 a limit of the owner's, or a queue
 * longer than `fal_max_queue_length`, 503 Temporal, and the store when there is an idempotency key.
 */
export const createSubmit = (
  api: Pick<
    ApiDependencies,
    | "keyRing"
    | "registry"
    | "findPipeline"
    | "checkDefinition"
    | "flags"
    | "jobs"
    | "events"
    | "requests"
    | "objects"
    | "storageDefaults"
    | "claims"
    | "limits"
    | "clock"
    | "log"
    | "bodyBytesMax"
    | "publicUrl"
    | "webhookOf"
  >,
) => {
  const claimRequest = createClaimRequest(api);
  return async (c: Context, { endpoint }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), appOf(endpoint));
    const route = await callerRoute(api, caller, { endpoint, requestId: requestIdOf(c) });
    const allowed = api.limits.call(caller);
    const raw = await bodyOfCall(readJsonBody(c, api.bodyBytesMax), allowed);
    const webhook = api.webhookOf(c.req.query("fal_webhook"));
    if (webhook)
      refuseBehaviourOff(
        api.flags,
        "webhooks",
        caller.ownerId,
        "Submit without fal_webhook and ask for the status.",
      );
    const claim = await claimRequest(c, { caller, endpoint, input: raw }, allowed);
    if (claim?.standing) return answerStanding(c, api, claim.standing);
    let queued: Held | undefined;
    let intake: Intake;
    try {
      await refuseLongQueue(
        route.model ? taskQueueOf(route.model) : PIPELINE_QUEUE,
        c.req.query("fal_max_queue_length") ?? "",
      );
      queued = await api.limits.queue(caller);
      intake = await readIntake(api, c, { route, caller, raw });
    } catch (error) {
      queued?.drop();
      claim?.release();
      throw error;
    }
    if (queued) intake.held.push(queued);
    const job = { ...intake.job, ...(webhook && { webhook }) };
    const queueing = queueJob(api, { ...intake, job }, { claim });
    const counted = queueing.announced
      .then(() =>
        api.events.position({ ...job, state: "IN_QUEUE", attempt: 0, queuedAtMs: job.submittedAtMs }),
      )
      .catch(() => 0);
    const startMs = await queueing.started;
    const position = await counted;
    const temporal = `temporal;dur=${startMs.toFixed(2)}`;
    return answerJson(c, submitBody(addressOf(c, "queue", api.publicUrl), job, position), 200, {
      "server-timing": temporal,
    });

    /** The caller may have said how long a queue it joins. */
    async function refuseLongQueue(taskQueue: string, lengthMax: string): Promise<void> {
      if (!/^\d{1,9}$/.test(lengthMax)) return;
      const waiting = await api.events.waiting(taskQueue).catch(() => 0);
      if (waiting > Number(lengthMax))
        throw new TemperaError(
          "queue_full",
          `The queue holds ${waiting} requests, more than the ${lengthMax} allowed by fal_max_queue_length.`,
        );
    }
  };
};
