import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Price, RetryPolicy } from "../../core/models/model.ts";
import { PIPELINE_QUEUE, type PipelineVersion } from "../../core/pipelines/pipeline.ts";
import { store } from "../../core/files/stored-value.ts";
import { resolveCallees } from "../../registry/resolve-endpoints.ts";
import type { Route } from "../../registry/registry.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { refuseOff } from "../requests/caller-route.ts";

/**
 * What of a job its pipeline decides. Everything that it may call is looked up now, so that it finishes on
 * the versions it began with.
 *
 * Rejects with `pipeline_limit` when the input is too large for a workflow to look into, with what
 * `resolveCallees` throws, with `switched_off` when a flag keeps one of them from this owner, and with
 * `store_unavailable`.
 */
export async function pipelineJob(
  api: Pick<ApiDependencies, "objects" | "clock" | "registry" | "findPipeline" | "flags">,
  {
    pipeline,
    requestId,
    ownerId,
    input,
    cache,
  }: { pipeline: PipelineVersion; requestId: string; ownerId: string; input: JsonObject; cache: boolean },
): Promise<
  Pick<JobSpec, "endpoint" | "version" | "taskQueue" | "modelDigest" | "retry" | "timeouts"> &
    Required<Pick<JobSpec, "pipeline">>
> {
  refuseLarge(input);
  const switchedOn = <T extends Route>(route: T | undefined): T | undefined => {
    if (route) refuseOff(api.flags, route, ownerId);
    return route;
  };
  const callees = await resolveCallees(pipeline, {
    registry: { route: (endpoint) => switchedOn(api.registry.route(endpoint, requestId)) },
    findPipeline: async (endpoint, owner) => switchedOn(await api.findPipeline(endpoint, owner)),
    ownerId,
  });
  const [plan, stored] = await Promise.all([
    store(api.objects, `inputs/${requestId}-plan.json`, pipeline.plan),
    store(api.objects, `inputs/${requestId}-callees.json`, callees),
  ]);
  return {
    endpoint: pipeline.endpoint,
    version: pipeline.version,
    taskQueue: PIPELINE_QUEUE,
    modelDigest: pipeline.digest,
    pipeline: {
      plan,
      callees: stored,
      depth: 0,
      deadlineMs: api.clock.nowMs() + LIMITS.pipelineMs,
      cache: cache && api.flags.isOn("behaviour", "node_cache", ownerId),
    },
    retry: PIPELINE_RETRY,
    timeouts: { heartbeatMs: 30_000, runMs: LIMITS.pipelineMs },
  };
}

/**
 * What a pipeline costs is known when its nodes have run. Until then it is next to nothing, which is too much
 * where nothing is left.
 */
export const PIPELINE_PRICE: Price = { unit: "pipeline", unitPrice: 1e-9, currency: "USD" };

/**
 * A pipeline is not tried again as a whole. This is the most that any of its nodes is: fal's ceiling
 * (contract §2.6); its model may say fewer.
 */
export const PIPELINE_RETRY: RetryPolicy = {
  attemptsMax: 10,
  initialMs: 1000,
  backoff: 2,
  maximumMs: 60_000,
};
/**
 * The workflow looks into the input itself, so what it could not hold is refused before anything is queued.
 */
export function refuseLarge(input: JsonObject): void {
  const bytes = Buffer.byteLength(JSON.stringify(input));
  if (bytes <= LIMITS.pipelineValueBytesMax) return;
  const message = `The input is ${bytes} bytes, and a pipeline's may have ${LIMITS.pipelineValueBytesMax} at most; upload large files and pass their addresses.`;
  throw new TemperaError("pipeline_limit", message);
}
