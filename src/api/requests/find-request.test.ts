import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { JobDescription, Jobs } from "../../core/requests/jobs.ts";
import type { Outcome, RequestIdentity } from "../../core/requests/request.ts";
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
let nodeRuns: Awaited<ReturnType<Jobs["describeNode"]>>;
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

describe("a request that the event log may not know to have ended", () => {
  const away = async () => {
    throw new TemperaError("store_unavailable");
  };
  /** The content of the log and the doubt about it; PostgreSQL and Temporal answer as `others` says. */
  let doubt: string | undefined;
  const job = (over: Partial<JobDescription> = {}): JobDescription => ({
    ...request,
    state: "IN_PROGRESS",
    attempt: 1,
    submittedAtMs: 0,
    ...over,
  });
  const finder = (
    others: {
      requests?: () => Promise<unknown>;
      describe?: () => Promise<JobDescription | undefined>;
      outcome?: () => Promise<Outcome | undefined>;
      snapshot?: () => Promise<never>;
      nowMs?: () => number;
    } = {},
  ) => {
    const describe = others.describe ?? (async () => job());
    return createFindRequest({
      clock: { nowMs: others.nowMs ?? (() => now) },
      events: {
        ...events,
        snapshot:
          others.snapshot ??
          (async (id) => {
            const found = await events.snapshot(id);
            return found?.state === "COMPLETED" || !found || !doubt ? found : { ...found, doubt };
          }),
      },
      requests: {
        find: async () => {
          reads.push("requests");
          if (others.requests) return others.requests();
          const row = { ...request, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [] };
          return { ...row, ...(recorded && { outcome: recorded }) };
        },
      } as never,
      jobs: {
        describe: async () => {
          reads.push("jobs");
          return describe();
        },
        outcome: others.outcome ?? (async () => undefined),
        describeNode: async () => nodeRuns,
      } as never,
    });
  };
  beforeEach(() => {
    doubt = "1:";
  });

  it("is looked up at once, and its end is written to the log", async () => {
    recorded = OK;
    const findRequest = finder();
    expect(await findRequest(CALLER, request.requestId)).toMatchObject({ state: "COMPLETED", outcome: OK });
    expect((await events.outcome(request.requestId))?.outcome).toEqual(OK);
    const temporal = finder({ describe: async () => job({ state: "COMPLETED" }), outcome: async () => OK });
    expect((await temporal(CALLER, request.requestId)).state).toBe("COMPLETED");
  });

  it("is confirmed once for each doubt, and then polled by one read of the log", async () => {
    const findRequest = finder();
    for (const value of ["1:", "2:", "2:5-0"]) {
      doubt = value;
      reads = [];
      for (let poll = 0; poll < 5; poll++)
        expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
      expect(new Set(reads), value).toEqual(new Set(["requests", "jobs"]));
      expect(reads.length, value).toBeLessThanOrEqual(3);
    }
  });

  it("is looked up at once by a gateway whose clock is an hour off", async () => {
    for (const off of [-3_600_000, 3_600_000]) {
      recorded = undefined;
      const findRequest = finder({ nowMs: () => now + off });
      expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
      recorded = OK;
      doubt = `after ${off}`;
      expect((await findRequest(CALLER, request.requestId)).state).toBe("COMPLETED");
      await events.drop(request);
      await events.append(request, { type: "started", attempt: 1, worker: "w" });
    }
  });

  it("is looked up in ten seconds without a doubt, also by a clock that is an hour behind", async () => {
    doubt = undefined;
    await events.drop(request);
    await events.append(request, { type: "queued", attempt: 0 });
    const findRequest = finder({ nowMs: () => now - 3_600_000 });
    expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_QUEUE");
    recorded = OK;
    now += 11_000;
    expect((await findRequest(CALLER, request.requestId)).state).toBe("COMPLETED");
  });

  it("is 503 while PostgreSQL is unavailable, unless Temporal has its end", async () => {
    const unfinished = finder({ requests: away });
    for (let poll = 0; poll < 3; poll++)
      await expect(unfinished(CALLER, request.requestId)).rejects.toMatchObject({
        code: "store_unavailable",
      });
    const closed = { describe: async () => job({ state: "COMPLETED" }), outcome: async () => OK };
    expect(await finder({ requests: away, ...closed })(CALLER, request.requestId)).toMatchObject({
      state: "COMPLETED",
    });
  });

  it("stays what was confirmed while PostgreSQL is unavailable later", async () => {
    let isAway = false;
    const findRequest = finder({ requests: async () => (isAway ? away() : undefined) });
    expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
    isAway = true;
    for (const laterMs of [100, 20_000]) {
      now += laterMs;
      expect((await findRequest(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
    }
  });

  it.each(["recording", "mayBeRecording"])("is 503 while its end waits to be recorded (%s)", async (how) => {
    const recording = async () => job({ [how]: true });
    for (const snapshot of [undefined, away])
      await expect(
        finder({ describe: recording, ...(snapshot && { snapshot }) })(CALLER, request.requestId),
      ).rejects.toMatchObject({ code: "store_unavailable" });
  });

  it("is 503 while the end of a node waits to be recorded, with and without the event log", async () => {
    const node = { ...request, requestId: newRequestId(), node: { pipelineId: newRequestId(), id: "n" } };
    await events.append(node, { type: "queued", attempt: 0 });
    const row = { ...node, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [] };
    for (const snapshot of [undefined, away]) {
      const findNode = finder({ requests: async () => row, ...(snapshot && { snapshot }) });
      nodeRuns = { state: "IN_PROGRESS", attempt: 1, mayBeRecording: true };
      await expect(findNode(CALLER, node.requestId)).rejects.toMatchObject({ code: "store_unavailable" });
      nodeRuns = { state: "IN_PROGRESS", attempt: 1 };
      expect((await findNode(CALLER, node.requestId)).state).not.toBe("COMPLETED");
    }
  });

  it("without the event log: is unfinished only if PostgreSQL has no outcome", async () => {
    expect((await finder({ snapshot: away })(CALLER, request.requestId)).state).toBe("IN_PROGRESS");
    await expect(finder({ snapshot: away, requests: away })(CALLER, request.requestId)).rejects.toMatchObject(
      {
        code: "store_unavailable",
      },
    );
    const closed = { describe: async () => job({ state: "COMPLETED" }), outcome: async () => OK };
    const found = await finder({ snapshot: away, requests: away, ...closed })(CALLER, request.requestId);
    expect(found.state).toBe("COMPLETED");
  });
});
