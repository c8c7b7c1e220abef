import { CATALOGUE, type ErrorCode, isErrorCode } from "./catalogue.ts";

/**
 * One fault of an input, in the words of fal's model errors (contract §7.1).
 *
 * `type` is fal's or pydantic's name (`missing`, `greater_than_equal`, `feature_not_supported`, …), `ctx` its
 * numbers.
 */
export interface InputFault {
  loc: (string | number)[];
  msg: string;
  type: string;
  ctx?: Record<string, unknown>;
}

/** An error as it is stored, sent between processes and answered. */
export interface ErrorInfo {
  code: ErrorCode;
  message: string;
  faults?: InputFault[];
  /** When the same call may succeed, from now; absent: nobody knows. */
  retryAfterMs?: number;
}

/**
 * The one error of this program: a code of the catalogue, a sentence, and the faults when the code is
 * `input_invalid`.
 */
export class TemperaError extends Error {
  override readonly name = "TemperaError";
  readonly code: ErrorCode;
  readonly faults?: InputFault[];
  readonly retryAfterMs?: number;

  constructor(
    code: ErrorCode,
    message: string = CATALOGUE[code].message,
    options: { faults?: InputFault[]; retryAfterMs?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    if (options.faults) this.faults = options.faults;
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
  }
}

/** Recognises errors by their code, never by class: errors cross processes and the workflow sandbox. */
export const isTemperaError = (error: unknown): error is TemperaError =>
  typeof error === "object" && error !== null && isErrorCode((error as { code?: unknown }).code);

/**
 * The storable form of whatever was thrown; what is not of the catalogue becomes `fallback`, its text kept.
 */
export function errorInfo(error: unknown, fallback: ErrorCode = "internal_error"): ErrorInfo {
  if (isTemperaError(error)) {
    const { code, message, faults, retryAfterMs } = error;
    return { code, message, ...(faults && { faults }), ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
  return { code: fallback, message: error instanceof Error ? error.message : String(error) };
}
