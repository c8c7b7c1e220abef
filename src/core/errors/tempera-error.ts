import { CATALOGUE, type ErrorCode, isErrorCode } from "./catalogue.ts";

/**
 * One fault of an input, in the words of fal's model errors (contract §7.1).
 *
 * `type` is fal's or pydantic's name (`missing`, `greater_than_equal`, `feature_not_supported`, …), `ctx` its numbers.
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
}

/** The one error of this program: a code of the catalogue, a sentence, and the faults when the code is `input_invalid`. */
export class TemperaError extends Error {
  override readonly name = "TemperaError";
  readonly code: ErrorCode;
  readonly faults?: InputFault[];

  constructor(code: ErrorCode, message: string = CATALOGUE[code].says, options: { faults?: InputFault[]; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    if (options.faults) this.faults = options.faults;
  }
}

/** Recognises errors by their code, never by class: errors cross processes and the workflow sandbox. */
export const isTemperaError = (error: unknown): error is TemperaError =>
  typeof error === "object" && error !== null && isErrorCode((error as { code?: unknown }).code);

/** The storable form of whatever was thrown; what is not of the catalogue becomes `fallback`, its text kept. */
export function errorInfo(error: unknown, fallback: ErrorCode = "internal_error"): ErrorInfo {
  if (isTemperaError(error)) return { code: error.code, message: error.message, ...(error.faults && { faults: error.faults }) };
  return { code: fallback, message: error instanceof Error ? error.message : String(error) };
}
