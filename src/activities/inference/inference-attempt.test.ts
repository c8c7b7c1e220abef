import { expect, it } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import { attemptFailure } from "./inference-attempt.ts";

it.each([
  [undefined, undefined],
  [7_000, 7_000],
  [24 * 3600 * 1000, LIMITS.attemptDelayMsMax],
])("an error that may be retried after %s ms delays the next attempt by %s ms", (retryAfterMs, delayMs) => {
  const info = {
    code: "file_unavailable" as const,
    message: "The host answers 503.",
    ...(retryAfterMs && { retryAfterMs }),
  };
  const failure = attemptFailure({ info, retryable: true }, 1);
  expect([failure.type, failure.nonRetryable, failure.nextRetryDelay]).toEqual([
    "file_unavailable",
    false,
    delayMs,
  ]);
});
