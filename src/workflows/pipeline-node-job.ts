import type { JsonObject, Stored } from "../core/json/json.ts";
import { type CallTarget, PIPELINE_QUEUE, type PipelinePart } from "../core/pipelines/pipeline.ts";
import type { JobSpec } from "../core/requests/job.ts";

/** The job of a pipeline's run, with what only the job of a pipeline carries. */
export type PipelineJob = JobSpec & { pipeline: PipelinePart };

/**
 * Returns the job of a node: the caller's choices (priority, lifecycle, retries) come from the pipeline's
 * job, the rest from the endpoint that the node calls.
 *
 * @param startDeadline the caller's time to start still runs: no node of the pipeline has ended
 */
export function nodeJob(
  pipelineJob: PipelineJob,
  target: CallTarget,
  {
    requestId,
    name,
    input,
    startDeadline,
  }: { requestId: string; name: string; input: Stored<JsonObject>; startDeadline: boolean },
): JobSpec {
  const { pipeline: part, ...job } = pipelineJob;
  return {
    requestId,
    ownerId: job.ownerId,
    keyId: job.keyId,
    endpoint: target.endpoint,
    version: target.version,
    taskQueue: target.kind === "model" ? target.taskQueue : PIPELINE_QUEUE,
    priority: job.priority,
    node: { pipelineId: job.requestId, id: name },
    modelDigest: target.digest,
    input,
    submittedAtMs: Date.now(),
    ...(job.startTimeoutMs !== undefined &&
      startDeadline && { startTimeoutMs: Math.max(1, job.submittedAtMs + job.startTimeoutMs - Date.now()) }),
    ...(job.direct && { direct: true }),
    ...(job.weight !== undefined && { weight: job.weight }),
    ...(job.lifecycle && { lifecycle: job.lifecycle }),
    ...(target.kind === "model" && target.price && { price: target.price }),
    // A result that must not be stored must not be cached either.
    ...(job.storeIo === false
      ? { storeIo: job.storeIo }
      : part.cache && name !== part.from && { cache: true }),
    retry: target.kind === "model" ? nodeRetry(target.retry, job.retry) : job.retry,
    timeouts: target.kind === "model" ? target.timeouts : job.timeouts,
  };
}

/** The model's retry policy, within the limits of the caller. */
function nodeRetry(model: JobSpec["retry"], caller: JobSpec["retry"]): JobSpec["retry"] {
  return {
    ...model,
    attemptsMax: Math.min(model.attemptsMax, caller.attemptsMax),
    ...(caller.limits && { limits: caller.limits }),
  };
}
