import type { JobSpec } from "../../../core/requests/job.ts";
import type { Outcome } from "../../../core/requests/request.ts";
import { GONE } from "../../../core/files/stored-value.ts";

/** The record that is left of a job and its outcome when input and output were taken out. */
export function withoutPayloads(job: JobSpec, outcome: Outcome): { job: JobSpec; outcome: Outcome } {
  const { pipeline, ...rest } = job;
  const bare: JobSpec = { ...rest, input: GONE };
  if (pipeline) {
    const { kept: _, keptRefs: __, overrides: ___, givenHash: ____, ...part } = pipeline;
    bare.pipeline = part;
  }
  return { job: bare, outcome: outcome.ok ? { ...outcome, output: GONE } : outcome };
}
