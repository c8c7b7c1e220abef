import { randomUUID } from "node:crypto";
import type { JobSpec } from "../../../src/core/requests/job.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";

/**
 * Creates a job as a gateway starts it, with a new id and key. Suites override the fields that they test.
 */
export const jobSpec = (over: Partial<JobSpec> = {}): JobSpec => ({
  requestId: newRequestId(),
  ownerId: "owner",
  keyId: randomUUID(),
  endpoint: "a/b",
  version: "1.0.0",
  taskQueue: "gpu/a/b/1.0.0",
  priority: "normal",
  modelDigest: "d",
  input: { inline: {} },
  submittedAtMs: 1_790_000_000_123,
  retry: { attemptsMax: 5, initialMs: 1, backoff: 2, maximumMs: 10 },
  timeouts: { heartbeatMs: 1000, runMs: 1000 },
  ...over,
});
