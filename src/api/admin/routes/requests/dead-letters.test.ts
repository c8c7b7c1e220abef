import { expect, it } from "vitest";
import type { JobSpec } from "../../../../core/requests/job.ts";
import { addDeadLetterRoutes } from "./dead-letters.ts";

const DEAD = "019a0000-0000-7000-8000-000000000001";

it.each([
  ["holds", "waits"],
  ["waits", "waits"],
  [undefined, undefined],
])(
  "retries a job whose concurrency slot was in state %s with one in state %s, because nothing acquired " +
    "a slot for it",
  async (place, expected) => {
    const started: JobSpec[] = [];
    let retry: ((request: object) => Promise<unknown>) | undefined;
    addDeadLetterRoutes(
      ((route: { path: string }, handle: never) => {
        if (route.path.endsWith("/retry")) retry = handle;
      }) as never,
      {
        deadLetters: {
          find: async () => ({
            requestId: DEAD,
            createdAtMs: 0,
            job: { requestId: DEAD, endpoint: "a/b", version: "1", input: { inline: {} }, place },
          }),
          claimRetry: async (_: string, id: string) => id,
          markRetried: async () => {},
        },
        registry: { find: () => ({}) },
        events: { append: async () => {} },
        jobs: { start: async (job: JobSpec) => void started.push(job) },
        requests: { insert: async () => {} },
        clock: { nowMs: () => 1_000 },
        log: { warn() {} },
      } as never,
    );
    const change = async (_: object, make: () => Promise<{ result: unknown }>) => (await make()).result;
    await retry?.({ params: { request_id: DEAD }, change });
    expect(started).toMatchObject([{ retryOf: DEAD }]);
    expect(started[0]?.place).toBe(expected);
  },
);
