/** Translates the error catalogue into fal's answers (contract §7). No other file does. */
import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { ErrorInfo, InputFault } from "../core/errors/tempera-error.ts";
import type { JsonObject } from "../core/json/json.ts";

export interface FalAnswer {
  status: number;
  headers: Record<string, string>;
  body: JsonObject;
}

const docsUrl = (type: string): string => `https://docs.fal.ai/errors/#${type}`;

const faultBody = ({ loc, msg, type, ctx }: InputFault): JsonObject => ({
  loc,
  msg,
  type,
  url: docsUrl(type),
  ...(ctx && { ctx: ctx as JsonObject }),
});

/**
 * Builds the status, headers and body that fal's clients get for an error.
 *
 * @param userTimeout true when the caller set the start deadline: fal's clients must not retry such a 504
 */
export function falError(
  error: ErrorInfo,
  { userTimeout = false }: { userTimeout?: boolean } = {},
): FalAnswer {
  const { kind, status, retryable } = CATALOGUE[error.code];
  const headers: Record<string, string> = {};
  if (status === 429 || status === 503)
    headers["retry-after"] = String(Math.max(1, Math.ceil((error.retryAfterMs ?? 2_000) / 1000)));
  switch (kind) {
    case "input":
    case "model": {
      headers["x-fal-retryable"] = String(retryable);
      headers["x-fal-needs-retry"] = retryable ? "1" : "0";
      headers["x-fal-billable-units"] = "0";
      const type = kind === "model" ? error.code : "value_error";
      return {
        status,
        headers,
        body: { detail: (error.faults ?? [{ loc: ["body"], msg: error.message, type }]).map(faultBody) },
      };
    }
    case "request":
      headers["x-fal-error-type"] = error.code;
      headers["x-fal-retryable"] = String(retryable);
      headers["x-fal-needs-retry"] = retryable ? "1" : "0";
      if (userTimeout) headers["x-fal-request-timeout-type"] = "user";
      return { status, headers, body: { detail: error.message, error_type: error.code } };
    case "gateway":
      if (status === 429) headers["x-fal-needs-retry"] = "1";
      return { status, headers, body: { detail: error.message } };
  }
}
