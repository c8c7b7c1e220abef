import { TemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Price, RetryPolicy } from "../../core/models/model.ts";
import { refuseDisabledRoute } from "../../core/models/refuse-disabled.ts";
import { assertEndpointPermitted } from "../../core/owners/key-permissions.ts";
import { PIPELINE_QUEUE, type PipelineVersion } from "../../core/pipelines/pipeline.ts";
import { withStandIns } from "../../core/pipelines/stand-ins.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Route } from "../../registry/registry.ts";
import { resolveCallTargets } from "../../registry/resolve-call-targets.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { RequestValues } from "../limits/request-values.ts";

/**
 * Builds the parts of a job that its pipeline determines. The targets of all its calls are resolved now, so
 * that it finishes on the versions with which it began.
 *
 * Rejects with `pipeline_limit` when the input is too large for a workflow, with the errors of
 * `resolveCallTargets`, with `key_endpoint_forbidden` when the caller's key may not call a target itself,
 * with `disabled_by_operator` when a flag disables a target for this owner, and as `RequestValues.store`
 * does.
 */
export async function pipelineJob(
  api: Pick<ApiDependencies, "clock" | "registry" | "findPipeline" | "flags">,
  {
    pipeline,
    requestId,
    caller,
    input,
    cache,
    values,
  }: {
    pipeline: PipelineVersion;
    requestId: string;
    caller: Pick<Caller, "ownerId" | "permissions">;
    input: JsonObject;
    cache: boolean;
    /** Stores the plan and the targets. */
    values: Pick<RequestValues, "store">;
  },
): Promise<
  Pick<JobSpec, "endpoint" | "version" | "taskQueue" | "modelDigest" | "retry" | "timeouts"> &
    Required<Pick<JobSpec, "pipeline">>
> {
  refuseLarge(input);
  const { ownerId } = caller;
  const enabled = <T extends Route>(route: T | undefined): T | undefined => {
    if (route) refuseDisabledRoute(api.flags, route, ownerId);
    return route;
  };
  const permitted = (endpoint: string): string => {
    assertEndpointPermitted(caller, endpoint);
    return endpoint;
  };
  const targets = await resolveCallTargets(pipeline, {
    registry: { route: (endpoint) => enabled(api.registry.route(permitted(endpoint), requestId)) },
    findPipeline: async (endpoint, owner) => enabled(await api.findPipeline(permitted(endpoint), owner)),
    ownerId,
  });
  const [plan, stored] = await Promise.all([
    values.store(`inputs/${requestId}-plan.json`, pipeline.plan),
    values.store(`inputs/${requestId}-callees.json`, targets),
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
 * The price of a pipeline until its nodes have run and the real one is known. It is next to nothing, but more
 * than an exhausted budget.
 */
export const PIPELINE_PRICE: Price = { unit: "pipeline", unitPrice: 1e-9, currency: "USD" };

/**
 * The most attempts of each node of a pipeline: fal's ceiling (contract §2.6). The policy of a node's model
 * may allow fewer. A pipeline itself is never retried as a whole.
 */
export const PIPELINE_RETRY: RetryPolicy = {
  attemptsMax: 10,
  initialMs: 1000,
  backoff: 2,
  maximumMs: 60_000,
};

/** Refuses an input that is too large for a workflow's memory. Throws `pipeline_limit`. */
export function refuseLarge(input: JsonObject): void {
  if (fitsWorkflow(input)) return;
  const message =
    `The input is ${bytesOf(input)} bytes. A pipeline's may have ${LIMITS.pipelineValueBytesMax} beside ` +
    `long texts, and ${LIMITS.pipelineStoredBytesMax} with them; ` +
    "upload large files and pass their addresses.";
  throw new TemperaError("pipeline_limit", message);
}

/** Tells whether a workflow can read a value: its long texts are replaced by stand-ins. */
export function fitsWorkflow(value: JsonObject): boolean {
  const bytes = bytesOf(value);
  if (bytes <= LIMITS.pipelineValueBytesMax) return true;
  const short = bytesOf(withStandIns(value, "inputs/00000000-0000-0000-0000-000000000000-overrides.json"));
  return bytes <= LIMITS.pipelineStoredBytesMax && short <= LIMITS.pipelineValueBytesMax;
}

const bytesOf = (value: Json): number => Buffer.byteLength(writeJson(value));
