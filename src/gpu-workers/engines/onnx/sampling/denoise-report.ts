/** Progress and checkpoints of a run that denoises, the same for every model kind. */
import type { RunState } from "../../../contract/checkpoint.ts";
import type { RunEmitter } from "../../../engine-sdk/run-emitter.ts";

/**
 * Reads the state that a checkpoint holds; warns in the request's log when another build wrote it.
 *
 * @param read gives undefined when the state does not fit this run
 * @returns undefined when the run begins at the beginning
 */
export function restoreState<T>(
  state: RunState | undefined,
  read: (state: RunState) => T | undefined,
  emit: Pick<RunEmitter, "log">,
): T | undefined {
  const restored = state && read(state);
  if (state && !restored)
    emit.log(
      "WARN",
      "The checkpoint was written by another build of this engine; starting from the beginning.",
    );
  return restored;
}

export interface ProgressOptions {
  /** Steps of the whole run, those before a checkpoint included. */
  steps: number;
  /** Steps that were done before this attempt. */
  stepsBefore: number;
  /** The least time between two reports, in milliseconds; the first and the last step are always reported. */
  everyMs?: number;
}

/**
 * Reports progress and the time that is left, counted from this call on.
 *
 * @returns a function to call after each step; it gives the milliseconds since this call
 */
export function startProgress(
  emit: Pick<RunEmitter, "progress">,
  { steps, stepsBefore, everyMs = 0 }: ProgressOptions,
): (step: number) => number {
  const sinceMs = performance.now();
  let reportedMs = Number.NEGATIVE_INFINITY;
  return (step) => {
    const nowMs = performance.now();
    const elapsedMs = nowMs - sinceMs;
    if (step === steps || nowMs - reportedMs >= everyMs) {
      reportedMs = nowMs;
      const stepMs = elapsedMs / (step - stepsBefore);
      emit.progress(step, steps, Math.round(stepMs * (steps - step)));
    }
    return elapsedMs;
  };
}
