import { expect, it } from "vitest";
import type { JobSpec } from "../../../../core/requests/job.ts";
import { addDeadLetterVerbs } from "./dead-letters.ts";

const DEAD = "019a0000-0000-7000-8000-000000000001";

it.each([
  ["holds", "waits"],
  ["waits", "waits"],
  [undefined, undefined],
])(
  "a retry of what had its owner's place as %s goes in one as %s: nobody took it for it",
  async (place, expected) => {
    const started: JobSpec[] = [];
    let retry: ((asked: object) => Promise<unknown>) | undefined;
    addDeadLetterVerbs(
      ((verb: { path: string }, handle: never) => {
        if (verb.path.endsWith("/retry")) retry = handle;
      }) as never,
      {
        deadLetters: {
          find: async () => ({
            requestId: DEAD,
            createdAtMs: 0,
            job: { requestId: DEAD, endpoint: "a/b", version: "1", input: { inline: {} }, place },
          }),
          claimRetry: async (_: string, id: string) => id,
          retried: async () => {},
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
