import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Outcome, RequestIdentity, RequestState } from "../../core/requests/request.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { createFindRequest } from "./find-request.ts";

const CALLER = { ownerId: "ann", keyId: "k", scope: "API" } as const;
const OK: Outcome = { ok: true, output: { inline: { a: 1 } }, metrics: {} };

let now: number;
let events: EventLog;
let recorded: Outcome | undefined;
let reads: string[];
let request: RequestIdentity;
/** Temporal's description of a node. */
let nodeRuns: { state: RequestState; attempt: number } | undefined;
beforeEach(async () => {
  now = 1_000_000;
  events = createMemoryEventLog({ clock: { nowMs: () => now } });
  recorded = undefined;
  reads = [];
  nodeRuns = undefined;
  request = {
    requestId: newRequestId(),
    ownerId: "ann",
    endpoint: "a/b",
    version: "1.0.0",
    taskQueue: "q",
    priority: "normal",
  };
  await events.append(request, { type: "queued", attempt: 0 });
  await events.append(request, { type: "started", attempt: 1, worker: "w" });
});
afterEach(() => events.close());

const find = () =>
  createFindRequest({
    clock: { nowMs: () => now },
    events,
    requests: {
      find: async () => {
        reads.push("requests");
        return (
          recorded && { ...request, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [], outcome: recorded }
        );
      },
    } as never,
    jobs: {
      outcome: async () => {
        reads.push("jobs");
        return undefined;
      },
      describe: async () => undefined,
      describeNode: async () => nodeRuns,
    } as never,
  });

describe("a request whose end is missing from the event log", () => {
  it("is found to have ended within seconds, and its end is written to the log", async () => {
    const findRequest = find();
    recorded = OK;
    expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
    expect(reads).toEqual([]);
    now += 11_000;
    expect(await findRequest(CALLER, request.requestId)).toMatchObject({ state: "COMPLETED", outcome: OK });
    expect((await events.outcome(request.requestId))?.outcome).toEqual(OK);
  });

  it("costs the other stores one read in ten seconds while it runs", async () => {
    const findRequest = find();
    for (let poll = 0; poll < 300; poll++) {
      now += 100;
      expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
    }
    expect(reads.length).toBeLessThanOrEqual(6);
  });
});

describe("a node of a pipeline", () => {
  const node = { pipelineId: newRequestId(), id: "n" };

  it("is found in its pipeline when only its row is known", async () => {
    nodeRuns = { state: "IN_PROGRESS", attempt: 2 };
    const unlogged = { ...request, requestId: newRequestId(), node };
    const findRequest = createFindRequest({
      clock: { nowMs: () => now },
      events,
      requests: {
        find: async () => ({ ...unlogged, keyId: "k", submittedAtMs: 0, attempts: 0, logs: [] }),
      } as never,
      jobs: { describeNode: async () => nodeRuns } as never,
    });
    expect(await findRequest(CALLER, unlogged.requestId)).toMatchObject({
      state: "IN_PROGRESS",
      attempt: 2,
      node,
    });
  });

  it("is unchanged while it runs, and has failed when its pipeline ended without its outcome", async () => {
    const unfinished = { ...request, requestId: newRequestId(), node };
    await events.append(unfinished, { type: "queued", attempt: 0 });
    const findRequest = find();
    nodeRuns = { state: "IN_QUEUE", attempt: 1 };
    now += 11_000;
    expect(await findRequest(CALLER, unfinished.requestId)).toMatchObject({ state: "IN_QUEUE", node });
    nodeRuns = undefined;
    now += 11_000;
    expect(await findRequest(CALLER, unfinished.requestId)).toMatchObject({
      state: "COMPLETED",
      error: { code: "internal_error" },
    });
  });
});
