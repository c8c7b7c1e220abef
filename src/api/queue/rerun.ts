import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { withoutOwnSignatures } from "../../core/files/private-address.ts";
import { refuseDisabledBehaviour } from "../../core/models/refuse-disabled.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import {
  CACHE_HEADER,
  type QueuePath,
  type Rerun,
  readRerun,
  submitBody,
  wantsCache,
} from "../../fal/index.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { addressOf } from "../http/address.ts";
import { answerJson } from "../http/answer-json.ts";
import { inTurn } from "../http/body-share.ts";
import { readJsonBody } from "../http/read-body.ts";
import { countedReads, type StoredReader } from "../limits/counted-reads.ts";
import type { RequestValues } from "../limits/request-values.ts";
import { PIPELINE_PRICE, PIPELINE_RETRY } from "../pipelines/pipeline-job.ts";
import { type PreviousRun, rerunJob } from "../pipelines/rerun-job.ts";
import { answerExisting } from "../requests/answer-existing.ts";
import { createClaimRequest } from "../requests/claim-request.ts";
import { createFindRequest } from "../requests/find-request.ts";
import { queueJob } from "../requests/queue-job.ts";
import { prepareSubmission, readCallerOptions } from "../requests/submission.ts";

type RerunApi = Pick<
  ApiDependencies,
  | "keyRing"
  | "registry"
  | "findPipeline"
  | "pipelineRuns"
  | "jobs"
  | "withdrawJob"
  | "events"
  | "requests"
  | "objects"
  | "files"
  | "storageDefaults"
  | "times"
  | "flags"
  | "claims"
  | "limits"
  | "budgets"
  | "clock"
  | "log"
  | "bodyBytesMax"
  | "publicUrl"
  | "webhookOf"
>;

/**
 * Runs a pipeline's request again as a new one, which reuses the results of all nodes that the change does
 * not affect. The new run uses the versions of the first one, whatever was published since. Headers and query
 * are those of a submit, the idempotency key included, and the run counts by the owner's limits anew.
 *
 * 200 as a submit. Refusals, before anything is queued: 400 a request that has not ended or is no pipeline's,
 * 404 another owner's request, 403 what a flag disables for the owner, 422 a node that the pipeline does not
 * have, an input that does not fit or an idempotency key that was used with another input, 429 a limit of the
 * owner, 503 a store or Temporal.
 */
export function createRerun(api: RerunApi) {
  const findRequest = createFindRequest(api);
  const claimRequest = createClaimRequest(api);
  return async (c: Context, { endpoint, requestId }: QueuePath): Promise<Response> => {
    const caller = await api.keyRing.authenticate(c.req.header("authorization"), callOf(c), endpoint);
    const found = await findRequest(caller, requestId ?? "");
    if (found.state !== "COMPLETED") throw new TemperaError("request_unfinished");
    const raw = withoutOwnSignatures(await readJsonBody(c, api.bodyBytesMax), caller.ownerId);
    const rerun = readRerun(raw);
    const claim = await claimRequest(c, {
      caller,
      endpoint: `${found.endpoint} again, from ${found.requestId}`,
      readInput: () => raw,
    });
    if (claim?.existing) return answerExisting(c, api, claim.existing);
    const submission = await prepareSubmission(api, { caller, claim }, async (taken) => {
      const { reservations, values } = taken;
      reservations.add(await api.limits.reserveQueued(caller));
      await api.limits.checkStorage(caller);
      reservations.add(await api.limits.reserveSpend(caller, PIPELINE_PRICE));
      const previous = await readPreviousRun(api, found.requestId);
      using reads = countedReads(api, caller.ownerId);
      const job = await newJob(api, c, { caller, previous, rerun, values, objects: reads.objects });
      return { job, ignored: [], ...taken };
    });
    const queued = queueJob(api, submission, { claim });
    await Promise.all([queued.started, queued.announced]);
    return answerJson(c, submitBody(addressOf(c, "queue", api.publicUrl), submission.job, 0));
  };
}

async function newJob(
  api: RerunApi,
  c: Context,
  {
    caller,
    previous,
    rerun,
    values,
    objects,
  }: {
    caller: Caller;
    previous: PreviousRun;
    rerun: Rerun;
    values: RequestValues;
    /** Reads the stored parts of the previous run. */
    objects: StoredReader;
  },
): Promise<JobSpec> {
  const { ownerId, endpoint, version, taskQueue, modelDigest, timeouts } = previous.job;
  const webhook = api.webhookOf(c.req.query("fal_webhook"));
  if (webhook)
    refuseDisabledBehaviour(
      api.flags,
      "webhooks",
      ownerId,
      "Send the rerun without fal_webhook and ask for the status.",
    );
  const cache = wantsCache(c.req.header(CACHE_HEADER));
  const { options, retryOf } = await readCallerOptions(api, c, caller);
  const { requestId, storeIo } = options;
  return {
    ...options,
    endpoint,
    version,
    taskQueue,
    modelDigest,
    submittedAtMs: api.clock.nowMs(),
    ...(webhook && { webhook }),
    retry: retryOf(PIPELINE_RETRY),
    timeouts,
    ...(await rerunJob({ ...api, objects }, previous, {
      requestId,
      rerun,
      cache,
      storeIo,
      permissions: caller.permissions,
      values,
      inTurn: (work) => inTurn(c, work),
    })),
  };
}

/** Reads the pipeline run that is to be run again. Rejects with `rerun_unsupported` when there is none. */
async function readPreviousRun(api: RerunApi, requestId: string): Promise<PreviousRun> {
  const run = await api.pipelineRuns.find(requestId);
  // It has ended and is not recorded yet: its finish step may be waiting for the store.
  if (!run)
    throw new TemperaError("store_unavailable", "The record of this request cannot be read yet. Try again.");
  const { job } = run;
  if (job.node)
    throw new TemperaError(
      "rerun_unsupported",
      `This is node ${job.node.id} of ${job.node.pipelineId}; rerun that request from this node.`,
    );
  if (!job.pipeline)
    throw new TemperaError("rerun_unsupported", `${job.endpoint} is a model; submit its input again.`);
  return { job: { ...job, pipeline: job.pipeline }, nodes: await api.pipelineRuns.nodes(requestId) };
}
