import { TemperaError } from "../../core/errors/tempera-error.ts";
import { retrieve, type ValueSource } from "../../core/files/stored-value.ts";
import type { Flags } from "../../core/models/flags.ts";
import { refuseDisabledEndpoint } from "../../core/models/refuse-disabled.ts";
import { assertEndpointPermitted, type KeyPermissions } from "../../core/owners/key-permissions.ts";
import type { CallTarget, PipelinePart } from "../../core/pipelines/pipeline.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { ApiDependencies } from "../dependencies.ts";

/**
 * Refuses to run a pipeline again when a target that it calls is no longer available. GPU workers no longer
 * serve a version that was disabled since, so its node would wait until the pipeline's deadline. An endpoint
 * that an operator has disabled stays disabled.
 *
 * Throws `endpoint_unknown`, `key_endpoint_forbidden` and `disabled_by_operator`; rejects with
 * `store_unavailable`.
 *
 * @param flags absent when an operator starts the run: flags do not apply then
 * @param permissions those of the caller's key
 */
export async function assertTargetsAvailable(
  {
    objects,
    registry,
    flags,
    permissions,
  }: Pick<ApiDependencies, "registry"> & {
    objects: ValueSource;
    flags?: Flags;
    permissions?: KeyPermissions | undefined;
  },
  {
    endpoint,
    ownerId,
    pipeline,
  }: Pick<JobSpec, "endpoint" | "ownerId"> & { pipeline: Pick<PipelinePart, "callees"> },
): Promise<void> {
  if (flags) refuseDisabledEndpoint(flags, "workflow", endpoint, ownerId);
  const targets = await retrieve<Record<string, CallTarget>>(objects, pipeline.callees);
  for (const target of Object.values(targets)) {
    assertEndpointPermitted({ ...(permissions && { permissions }) }, target.endpoint);
    if (target.kind === "model" && !registry.find(target.endpoint, target.version)) {
      throw new TemperaError(
        "endpoint_unknown",
        `${target.endpoint} ${target.version}, which this request of ${endpoint} calls, ` +
          "is no longer served; submit its input as a new request.",
      );
    }
    if (flags)
      refuseDisabledEndpoint(flags, target.kind === "model" ? "model" : "workflow", target.endpoint, ownerId);
  }
}
