import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Flags } from "../../core/models/flags.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Callee, PipelinePart } from "../../core/pipelines/pipeline.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { refuseEndpointOff } from "../requests/caller-route.ts";

/**
 * Refuses to start a pipeline again whose versions are no longer what they were: GPU workers have dropped a
 * version that was disabled since, so a node of it would wait for nobody until the pipeline's deadline; and
 * what an operator has switched off stays off.
 *
 * Throws `endpoint_unknown` and `switched_off`; rejects with `store_unavailable`.
 *
 * @param flags not asked where an operator starts it
 */
export async function refuseGone(
  { objects, registry, flags }: Pick<ApiDependencies, "objects" | "registry"> & { flags?: Flags },
  {
    endpoint,
    ownerId,
    pipeline,
  }: Pick<JobSpec, "endpoint" | "ownerId"> & { pipeline: Pick<PipelinePart, "callees"> },
): Promise<void> {
  if (flags) refuseEndpointOff(flags, "workflow", endpoint, ownerId);
  const callees = await retrieve<Record<string, Callee>>(objects, pipeline.callees);
  for (const callee of Object.values(callees)) {
    if (callee.kind === "model" && !registry.find(callee.endpoint, callee.version)) {
      throw new TemperaError(
        "endpoint_unknown",
        `${callee.endpoint} ${callee.version}, which this request of ${endpoint} calls, is no longer served; submit its input as a new request.`,
      );
    }
    if (flags)
      refuseEndpointOff(flags, callee.kind === "model" ? "model" : "workflow", callee.endpoint, ownerId);
  }
}
