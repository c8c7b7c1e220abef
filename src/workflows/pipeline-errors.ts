/** Errors within a pipeline, as they are thrown through its code and read at its end. */
import { ApplicationFailure } from "@temporalio/workflow";
import { isErrorCode } from "../core/errors/catalogue.ts";
import type { ErrorInfo, InputFault } from "../core/errors/tempera-error.ts";
import type { Outcome } from "../core/requests/request.ts";

/** What an error within a pipeline is about; `failedNode` of `define-pipeline.ts` reads it too. */
interface FaultDetail {
  error: ErrorInfo;
  node?: string;
  exhausted?: boolean;
  userTimeout?: boolean;
}

const thrown = (detail: FaultDetail): ApplicationFailure =>
  ApplicationFailure.create({
    type: detail.error.code,
    message: detail.error.message,
    nonRetryable: true,
    details: [detail],
  });

/** A fault of the pipeline itself. */
export const pipelineFault = (
  code: ErrorInfo["code"],
  message: string,
  faults?: InputFault[],
): ApplicationFailure => thrown({ error: { code, message, ...(faults && { faults }) } });

/** A node has failed for good. `exhausted`: its attempts were used up. */
export const nodeFault = (
  node: string,
  outcome: Outcome & { ok: false },
  exhausted: boolean,
): ApplicationFailure =>
  thrown({ node, error: outcome.error, exhausted, ...(outcome.userTimeout && { userTimeout: true }) });

/** The outcome of a pipeline that such an error has ended, or any other that its code threw. */
export function faultOutcome(error: unknown): { outcome: Outcome & { ok: false }; exhausted: boolean } {
  const detail = detailOf(error);
  if (!detail) {
    const message = error instanceof Error ? error.message : String(error);
    return {
      outcome: {
        ok: false,
        error: { code: "pipeline_failed", message: `The pipeline's own code failed: ${message}` },
        metrics: {},
      },
      exhausted: false,
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

/** Errors of activities come wrapped; the cause says what they are about. */
function detailOf(error: unknown): FaultDetail | undefined {
  for (let at = error; at instanceof Error; at = at.cause) {
    const detail = (at as { details?: unknown[] }).details?.[0] as FaultDetail | undefined;
    if (detail && isErrorCode(detail.error?.code)) return detail;
  }
  return undefined;
}
