import { CATALOGUE, type ErrorCode, isErrorCode } from "./catalogue.ts";

/**
 * A fault is one entry of the list of errors in an input, in the form of fal's model errors (contract §7.1).
 *
 * `type` is fal's or pydantic's name (`missing`, `greater_than_equal`, `feature_not_supported`, …), and `ctx`
 * has the numbers of it.
 */
export interface InputFault {
  loc: (string | number)[];
  msg: string;
  type: string;
  ctx?: Record<string, unknown>;
}

/** The form of an error that is stored, sent between processes, and put into responses. */
export interface ErrorInfo {
  code: ErrorCode;
  message: string;
  faults?: InputFault[];
  /** Milliseconds from now until the same call may succeed; absent: unknown. */
  retryAfterMs?: number;
}

/** The stores as errors name them to callers, without address. */
export type StoreName = "object store" | "PostgreSQL" | "Redis" | "GPU worker's disk" | "log search";

/** The error class of this program: a code of the catalogue, a message, and faults with `input_invalid`. */
export class TemperaError extends Error {
  override readonly name = "TemperaError";
  readonly code: ErrorCode;
  readonly faults?: InputFault[];
  readonly retryAfterMs?: number;
  /** True when the change was sent and its answer did not come: it may have been made. */
  readonly inDoubt?: true;
  /** The store that failed, with `store_unavailable` and `store_full`. */
  readonly store?: StoreName;

  constructor(
    code: ErrorCode,
    message: string = CATALOGUE[code].message,
    options: {
      faults?: InputFault[];
      retryAfterMs?: number;
      inDoubt?: boolean;
      store?: StoreName;
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    if (options.faults) this.faults = options.faults;
    if (options.retryAfterMs !== undefined) this.retryAfterMs = options.retryAfterMs;
    if (options.inDoubt) this.inDoubt = true;
    if (options.store) this.store = options.store;
  }
}

/** Recognises an error by its code, not by its class: errors cross processes and the workflow sandbox. */
export function isTemperaError(error: unknown): error is TemperaError {
  return typeof error === "object" && error !== null && isErrorCode((error as { code?: unknown }).code);
}

/** Tells whether a change that failed with `error` may have been made all the same. */
export function isInDoubt(error: unknown): boolean {
  return isTemperaError(error) && error.inDoubt === true;
}

/**
 * Converts a thrown value; one without a code of the catalogue gets the code `fallback` and keeps its text.
 */
export function errorInfo(error: unknown, fallback: ErrorCode = "internal_error"): ErrorInfo {
  if (isTemperaError(error)) {
    const { code, message, faults, retryAfterMs } = error;
    return { code, message, ...(faults && { faults }), ...(retryAfterMs !== undefined && { retryAfterMs }) };
  }
  return { code: fallback, message: error instanceof Error ? error.message : String(error) };
}
