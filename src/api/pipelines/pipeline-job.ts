import type { JobSpec } from "../../core/job.ts";
import { LIMITS } from "../../core/limits.ts";
import { PIPELINE_QUEUE, type PipelineVersion } from "../../core/pipeline.ts";
import { store } from "../../core/stored.ts";
import { resolveCallees } from "../../registry/callees.ts";
import type { ApiDependencies } from "../dependencies.ts";

/**
 * What of a job its pipeline decides. Everything that it may call is looked up now, so that it finishes on the versions it began with.
 *
 * Rejects with what `resolveCallees` throws, and with `store_unavailable`.
 */
export async function pipelineJob(
  api: Pick<ApiDependencies, "objects" | "clock" | "registry" | "findPipeline">,
  { pipeline, requestId, ownerId, cache }: { pipeline: PipelineVersion; requestId: string; ownerId: string; cache: boolean },
): Promise<
  Pick<JobSpec, "endpoint" | "version" | "taskQueue" | "modelDigest" | "retry" | "timeouts"> & Required<Pick<JobSpec, "pipeline">>
> {
  const callees = await resolveCallees(pipeline, { ...api, ownerId });
  const [plan, stored] = await Promise.all([
    store(api.objects, `inputs/${requestId}-plan.json`, pipeline.plan),
    store(api.objects, `inputs/${requestId}-callees.json`, callees),
  ]);
  return {
    endpoint: pipeline.endpoint,
    version: pipeline.version,
    taskQueue: PIPELINE_QUEUE,
    modelDigest: pipeline.digest,
    pipeline: { plan, callees: stored, depth: 0, deadlineMs: api.clock.nowMs() + LIMITS.pipelineMs, cache },
    // A pipeline is not tried again as a whole; this is the most that any of its nodes is.
    retry: { attemptsMax: NODE_ATTEMPTS_MAX, initialMs: 1000, backoff: 2, maximumMs: 60_000 },
    timeouts: { heartbeatMs: 30_000, runMs: LIMITS.pipelineMs },
  };
}

/** fal's ceiling (contract §2.6). A node's model may say fewer. */
const NODE_ATTEMPTS_MAX = 10;
