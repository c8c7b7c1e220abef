import { TOMBSTONE } from "../../../core/files/transient.ts";
import type { JobSpec } from "../../../core/requests/job.ts";
import type { Outcome } from "../../../core/requests/request.ts";

/** Replaces the input and the output of a job's record with tombstones. */
export function withoutPayloads(job: JobSpec, outcome: Outcome): { job: JobSpec; outcome: Outcome } {
  const { pipeline, ...rest } = job;
  const bare: JobSpec = { ...rest, input: TOMBSTONE };
  if (pipeline) {
    const { kept: _, keptRefs: __, overrides: ___, overridesRef: ____, givenHash: _____, ...part } = pipeline;
    bare.pipeline = part;
  }
  return { job: bare, outcome: outcome.ok ? { ...outcome, output: TOMBSTONE } : outcome };
}
