import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import {
  CACHE_HEADER,
  type QueuePath,
  type Rerun,
  readRerun,
  submitBody,
  wantsCache,
} from "../../fal/index.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createFindRequest } from "../requests/find-request.ts";
import { answerStanding } from "../requests/answer-existing.ts";
import { createClaimRequest } from "../requests/claim-request.ts";
import { askedOf, queueJob } from "../requests/submission.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { Held } from "../limits/usage-counter.ts";
import { PIPELINE_PRICE, PIPELINE_RETRY } from "../pipelines/pipeline-job.ts";
import { type EarlierRun, rerunJob } from "../pipelines/rerun-job.ts";
import { readJsonBody } from "../http/read-body.ts";
import { refuseBehaviourOff } from "../requests/caller-route.ts";

/**
 * Runs a pipeline's request again as a new one, which keeps the results of all nodes that the change does not
 * touch. It does what the first one did, on the same versions, whatever was published since; headers and
 * query are a submit's, its idempotency key too, and count anew.
 *
 * 200 as a submit. Refused before anything is queued: 400 a request that has not ended or is no pipeline's,
 * 404 one that is not the caller's, 403 what a flag keeps from the owner, 422 a node it has not, an input
 * that does not fit or an idempotency key that was another call's, 429 a limit of the owner's, 503 a store or
 * Temporal.
 */
export const createRerun = (
  api: Pick<
    ApiDependencies,
    | "keyRing"
    | "registry"
    | "findPipeline"
    | "pipelineRuns"
    | "jobs"
    | "events"
    | "requests"
    | "objects"
    | "files"
    | "storageDefaults"
    | "times"
    | "flags"
    | "claims"
    | "limits"
    | "clock"
    | "log"
    | "bodyBytesMax"
    | "publicUrl"
    | "webhookOf"
  >,
) => {
  const findRequest = createFindRequest(api);
  const claimRequest = createClaimRequest(api);
  return async (c: Context, { endpoint, requestId }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), endpoint);
    const found = await findRequest(caller, requestId ?? "");
    await api.limits.call(caller);
    if (found.state !== "COMPLETED") throw new TemperaError("request_unfinished");
    const raw = await readJsonBody(c, api.bodyBytesMax);
    const rerun = readRerun(raw);
    const claim = await claimRequest(
      c,
      { caller, endpoint: `${found.endpoint} again, from ${found.requestId}`, input: raw },
      Promise.resolve(),
    );
    if (claim?.standing) return answerStanding(c, api, claim.standing);
    const held: Held[] = [];
    let job: JobSpec;
    try {
      const queued = await api.limits.queue(caller);
      if (queued) held.push(queued);
      const spent = await api.limits.spend(caller, PIPELINE_PRICE);
      if (spent) held.push(spent);
      job = await newJob(c, caller, await earlierRun(found.requestId), rerun);
    } catch (error) {
      for (const each of held) each.drop();
      claim?.release();
      throw error;
    }
    const queueing = queueJob(api, { job, ignored: [], held }, { claim });
    await Promise.all([queueing.started, queueing.announced]);
    return answerJson(c, submitBody(addressOf(c, "queue", api.publicUrl), job, 0));
  };

  async function newJob(c: Context, caller: Caller, earlier: EarlierRun, rerun: Rerun): Promise<JobSpec> {
    const { ownerId, endpoint, version, taskQueue, modelDigest, timeouts } = earlier.job;
    const webhook = api.webhookOf(c.req.query("fal_webhook"));
    if (webhook)
      refuseBehaviourOff(
        api.flags,
        "webhooks",
        ownerId,
        "Ask again without fal_webhook and ask for the status.",
      );
    const cache = wantsCache(c.req.header(CACHE_HEADER));
    const { asked, retryOf } = await askedOf(api, c, caller);
    const { requestId, storeIo } = asked;
    return {
      ...asked,
      endpoint,
      version,
      taskQueue,
      modelDigest,
      submittedAtMs: api.clock.nowMs(),
      ...(webhook && { webhook }),
      retry: retryOf(PIPELINE_RETRY),
      timeouts,
      ...(await rerunJob(api, earlier, { requestId, rerun, cache, storeIo })),
    };
  }

  async function earlierRun(requestId: string): Promise<EarlierRun> {
    const run = await api.pipelineRuns.find(requestId);
    // It has ended, and its record is on its way: the finish step may be waiting for the store.
    if (!run)
      throw new TemperaError(
        "store_unavailable",
        "The record of this request cannot be read yet. Try again.",
      );
    const { job } = run;
    if (job.node) {
      throw new TemperaError(
        "rerun_impossible",
        `This is node ${job.node.id} of ${job.node.pipelineId}; run that one again from it.`,
      );
    }
    if (!job.pipeline)
      throw new TemperaError("rerun_impossible", `${job.endpoint} is a model; submit its input again.`);
    return { job: { ...job, pipeline: job.pipeline }, nodes: await api.pipelineRuns.nodes(requestId) };
  }
};
