/**
 * fal's queue, one file per action: submit, status, status stream, result, cancel and rerun. What a submit
 * has in common with runs and streams is in `../requests`.
 */

import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { appOf } from "../../core/models/endpoint.ts";
import { taskQueueOf } from "../../core/models/model.ts";
import { refuseDisabledBehaviour } from "../../core/models/refuse-disabled.ts";
import { PIPELINE_QUEUE } from "../../core/pipelines/pipeline.ts";
import type { Webhook } from "../../core/webhooks/webhook.ts";
import { type QueuePath, submitBody } from "../../fal/index.ts";
import type { Route } from "../../registry/registry.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import { readJsonBody } from "../http/read-body.ts";
import { requestIdOf } from "../http/request-id.ts";
import { createAdmitCall } from "../requests/admit-call.ts";
import { answerExisting } from "../requests/answer-existing.ts";
import { findCallerRoute } from "../requests/caller-route.ts";
import { queueJob } from "../requests/queue-job.ts";
import { prepareSubmission, readSubmission } from "../requests/submission.ts";

/**
 * Accepts a request: 200 once Temporal has its job (design §4, step 1). A submit whose idempotency key was
 * used before is answered with the request of that earlier submit.
 *
 * Refusals, before anything is queued: 401 the key, 404 the endpoint, 413/400 the body, 422 an input that
 * does not fit the model or an idempotency key that was used with another input, 429 a limit of the owner or
 * a queue longer than `fal_max_queue_length`, 503 Temporal, and the store when there is an idempotency key.
 */
export function createSubmit(
  api: Pick<
    ApiDependencies,
    | "keyRing"
    | "registry"
    | "findPipeline"
    | "checkDefinition"
    | "flags"
    | "jobs"
    | "withdrawJob"
    | "events"
    | "requests"
    | "objects"
    | "files"
    | "storageDefaults"
    | "claims"
    | "limits"
    | "clock"
    | "log"
    | "bodyBytesMax"
    | "publicUrl"
    | "webhookOf"
  >,
) {
  const admitCall = createAdmitCall(api);
  return async (c: Context, { endpoint }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c), appOf(endpoint));
    const route = await findCallerRoute(api, caller, { endpoint, requestId: requestIdOf(c) });
    const { input, webhook, claim } = await admitCall(c, {
      caller,
      endpoint,
      coerced: route.checkInput.coerced,
      readBody: async () => ({
        input: await readJsonBody(c, api.bodyBytesMax),
        webhook: readWebhook(api, c, caller),
      }),
    });
    if (claim?.existing) return answerExisting(c, api, claim.existing);
    const submission = await prepareSubmission(api, { caller, claim }, async (taken) => {
      await refuseLongQueue(api, c, route);
      taken.reservations.add(await api.limits.reserveQueued(caller));
      return readSubmission(api, c, { route, caller, raw: input, taken });
    });
    const job = { ...submission.job, ...(webhook && { webhook }) };
    const queued = queueJob(api, { ...submission, job }, { claim });
    const counted = queued.announced
      .then(() =>
        api.events.position({ ...job, state: "IN_QUEUE", attempt: 0, queuedAtMs: job.submittedAtMs }),
      )
      .catch(() => 0);
    const startMs = await queued.started;
    const position = await counted;
    const temporal = `temporal;dur=${startMs.toFixed(2)}`;
    return answerJson(c, submitBody(addressOf(c, "queue", api.publicUrl), job, position), 200, {
      "server-timing": temporal,
    });
  };
}

/** Reads the webhook that a submit names. Throws `webhook_invalid` and `disabled_by_operator`. */
function readWebhook(
  { webhookOf, flags }: Pick<ApiDependencies, "webhookOf" | "flags">,
  c: Context,
  { ownerId }: Caller,
): Webhook | undefined {
  const webhook = webhookOf(c.req.query("fal_webhook"));
  if (webhook)
    refuseDisabledBehaviour(flags, "webhooks", ownerId, "Submit without fal_webhook and ask for the status.");
  return webhook;
}

/** Rejects with `queue_full` when the queue is longer than the caller accepts. */
async function refuseLongQueue(
  { events }: Pick<ApiDependencies, "events">,
  c: Context,
  route: Route,
): Promise<void> {
  const lengthMax = c.req.query("fal_max_queue_length") ?? "";
  if (!/^\d{1,9}$/.test(lengthMax)) return;
  const taskQueue = route.model ? taskQueueOf(route.model) : PIPELINE_QUEUE;
  const waiting = await events.waiting(taskQueue).catch(() => 0);
  if (waiting > Number(lengthMax))
    throw new TemperaError(
      "queue_full",
      `The queue holds ${waiting} requests, more than the ${lengthMax} allowed by fal_max_queue_length.`,
    );
}
