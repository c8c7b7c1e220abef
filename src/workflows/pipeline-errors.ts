/** The errors of a pipeline: thrown through its code and its nodes, and read at its end. */
import { ApplicationFailure } from "@temporalio/workflow";
import { isErrorCode } from "../core/errors/catalogue.ts";
import type { ErrorInfo, InputFault } from "../core/errors/tempera-error.ts";
import type { Outcome } from "../core/requests/request.ts";

/** The first detail of such an error. `failedNode` of `define-pipeline.ts` reads it too. */
interface FailureDetail {
  error: ErrorInfo;
  node?: string;
  exhausted?: boolean;
  userTimeout?: boolean;
}

/** The failure of a pipeline or a node. */
export interface FailedEnd {
  outcome: Outcome & { ok: false };
  /** The attempts of a node were used up. */
  exhausted: boolean;
  /** The error that the pipeline's own code threw. */
  thrown?: Error;
}

function failureWith(detail: FailureDetail): ApplicationFailure {
  return ApplicationFailure.create({
    type: detail.error.code,
    message: detail.error.message,
    nonRetryable: true,
    details: [detail],
  });
}

/** Returns the error for a failure of the pipeline itself. */
export function pipelineFailure(
  code: ErrorInfo["code"],
  message: string,
  faults?: InputFault[],
): ApplicationFailure {
  return failureWith({ error: { code, message, ...(faults && { faults }) } });
}

/**
 * Returns the error for a node that failed finally. Faults of its input name it, because their locations are
 * not in the caller's input. `exhausted`: its attempts were used up.
 */
export function nodeFailure(
  { node, endpoint }: { node: string; endpoint: string },
  outcome: Outcome & { ok: false },
  exhausted: boolean,
): ApplicationFailure {
  const faults = outcome.error.faults?.map((fault) => ({
    ...fault,
    msg: fault.ctx?.node === undefined ? `Node ${node} (${endpoint}): ${fault.msg}` : fault.msg,
    ctx: { node, endpoint, ...fault.ctx },
  }));
  return failureWith({
    node,
    error: faults ? { ...outcome.error, faults } : outcome.error,
    exhausted,
    ...(outcome.userTimeout && { userTimeout: true }),
  });
}

/** Returns the outcome of a pipeline that ended with this error, or with any other that its code threw. */
export function failureOutcome(error: unknown): FailedEnd {
  const detail = detailOf(error);
  if (!detail) {
    const thrown = error instanceof Error ? error : new Error(String(error));
    return {
      outcome: {
        ok: false,
        error: { code: "pipeline_failed", message: `The pipeline's own code failed: ${thrown.message}` },
        metrics: {},
      },
      exhausted: false,
      thrown,
    };
  }
  const { node, userTimeout, exhausted = false } = detail;
  return {
    outcome: {
      ok: false,
      error: detail.error,
      metrics: {},
      ...(node !== undefined && { node }),
      ...(userTimeout && { userTimeout }),
    },
    exhausted,
  };
}

/** Finds the detail in the error or its causes: the errors of activities and child workflows are wrapped. */
function detailOf(error: unknown): FailureDetail | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const detail = (cause as { details?: unknown[] }).details?.[0] as FailureDetail | undefined;
    if (detail && isErrorCode(detail.error?.code)) return detail;
  }
  return undefined;
}
