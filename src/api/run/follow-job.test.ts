import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { EventLog } from "../../core/ports/event-log.ts";
import type { Outcome, RequestIdentity } from "../../core/request.ts";
import { newRequestId } from "../../core/request-id.ts";
import { createFindRequest } from "../find-request.ts";
import { followJob } from "./follow-job.ts";

const CALLER = { ownerId: "ann", keyId: "k", scope: "API" } as const;
const OUTCOME: Outcome = { ok: true, output: { inline: { a: 1 } }, metrics: {} };

let events: EventLog;
let request: RequestIdentity;
/** What Postgres knows. */
let recorded: Outcome | undefined;
beforeEach(() => {
  vi.useFakeTimers();
  recorded = undefined;
  events = createMemoryEventLog({ requestsMax: 2 });
  request = { requestId: newRequestId(), ownerId: "ann", endpoint: "a/b", version: "1.0.0", taskQueue: "q", priority: "normal" };
});
afterEach(async () => {
  await events.close();
  vi.useRealTimers();
});

/** Follows the job, and puts what is told into the returned list. */
function follow(afterId?: string) {
  const api = {
    events,
    requests: {
      find: async () => recorded && { ...request, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [], outcome: recorded },
    },
    jobs: { outcome: async () => undefined, describe: async () => undefined },
    clock: { nowMs: () => Date.now() },
  } as never;
  const told: string[] = [];
  const followed = { caller: CALLER, requestId: request.requestId, ...(afterId !== undefined && { afterId }) };
  const ended = (async () => {
    for await (const { event } of followJob({ api, findRequest: createFindRequest(api) }, followed, new AbortController().signal))
      told.push(event.type);
  })();
  return { told, ended };
}

describe("a job whose end the event log has and does not keep", () => {
  it("is told from the other stores when the log forgot it before anybody looked", async () => {
    const others = Array.from({ length: 2 }, () => ({ ...request, requestId: newRequestId() }));
    await events.append(request, { type: "queued", attempt: 0 });
    const { told, ended } = follow();
    await vi.advanceTimersByTimeAsync(1);
    for (const other of others) await events.append(other, { type: "queued", attempt: 0 });
    await events.complete(request, OUTCOME);
    recorded = OUTCOME;
    await vi.advanceTimersByTimeAsync(30_000);
    expect(told).toEqual(["queued", "done"]);
    await ended;
  });

  it("is told from the other stores when its log is gone as a whole", async () => {
    recorded = OUTCOME;
    const { told, ended } = follow("1700000000000-3");
    await vi.advanceTimersByTimeAsync(30_000);
    expect(told).toEqual(["done"]);
    await ended;
  });
});
