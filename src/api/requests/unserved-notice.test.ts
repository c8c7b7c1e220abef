import { setImmediate as turn } from "node:timers/promises";
import { expect, it } from "vitest";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { EngineOnWorker } from "../../core/engines/engine-status.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { readLogLines } from "../../core/requests/event-log.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { createFindRequest } from "./find-request.ts";
import { createUnservedNotice } from "./unserved-notice.ts";

const CALLER = { ownerId: "ann", keyId: "k", scope: "API" } as const;

const engine = (worker: string, state: EngineOnWorker["state"]): EngineOnWorker => ({
  endpoint: "a/b",
  version: "1.0.0",
  state,
  worker,
  device: "cpu",
  budgetMiB: 1000,
  polled: false,
  drained: false,
  running: 0,
  waiting: 0,
  failures: 3,
  ageMs: 0,
  ...(state === "unhealthy" && { lastFailure: "the driver is missing" }),
});

const none = async () => undefined;

/** Looks a waiting request up several times, as polls do, and returns its log lines. */
async function linesAfterPolls(list: () => Promise<EngineOnWorker[]>): Promise<unknown[]> {
  let now = 1_000_000;
  const clock = { nowMs: () => now };
  const events = createMemoryEventLog({ clock });
  const request = {
    requestId: newRequestId(),
    ownerId: "ann",
    endpoint: "a/b",
    version: "1.0.0",
    taskQueue: "gpu/a/b/1.0.0",
    priority: "normal",
  } as const;
  await events.append(request, { type: "queued", attempt: 0 });
  for (let gateway = 0; gateway < 2; gateway++) {
    const unserved = createUnservedNotice({ engines: { list } as never, events, clock }, 900_000);
    const find = createFindRequest({
      clock,
      events,
      unserved,
      requests: { find: none } as never,
      jobs: { outcome: none } as never,
    });
    for (let poll = 0; poll < 3; poll++) {
      await find(CALLER, request.requestId);
      await turn(); // The memory's log needs no more than this turn.
      now += LIMITS.engineReportMs;
    }
  }
  const lines = await readLogLines(events, request.requestId);
  await events.close();
  return lines.map(({ event }) => event);
}

it("tells a waiting request once that no GPU worker can serve it, whichever gateway is asked", async () => {
  const lines = await linesAfterPolls(async () => [
    engine("gpu-1", "unhealthy"),
    engine("gpu-2", "unhealthy"),
  ]);
  expect(lines).toEqual([
    {
      type: "log",
      attempt: 0,
      level: "WARN",
      message:
        "The engine of a/b 1.0.0 is unhealthy on every GPU worker (the driver is missing). The request " +
        "waits until an operator resets the engine, and ends with runner_scheduling_failure if none has " +
        "after 15 min.",
    },
  ]);
});

it("says nothing while one worker may serve the version, nor while the reports cannot be read", async () => {
  expect(
    await linesAfterPolls(async () => [engine("gpu-1", "unhealthy"), engine("gpu-2", "stopped")]),
  ).toEqual([]);
  expect(await linesAfterPolls(() => Promise.reject(new TemperaError("store_unavailable")))).toEqual([]);
});

/** A notice on an event log whose reads are `read`, and a function that tells it of a new waiting request. */
async function noticeOn(read: () => Promise<never>) {
  let now = 1_000_000;
  let reads = 0;
  const events = {
    append: () => Promise.reject(new TemperaError("store_unavailable")),
    read: () => {
      reads++;
      return read();
    },
  };
  const list = async () => [engine("gpu-1", "unhealthy")];
  const notice = createUnservedNotice(
    { engines: { list } as never, events: events as never, clock: { nowMs: () => now } },
    900_000,
  );
  const tell = () =>
    notice.tell({
      ...{ requestId: newRequestId(), ownerId: "ann", endpoint: "a/b", version: "1.0.0" },
      ...{ taskQueue: "gpu/a/b/1.0.0", priority: "normal", state: "IN_QUEUE", attempt: 0 },
    } as const);
  tell();
  await turn(); // The reports are read.
  return {
    tell,
    reads: () => reads,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

it("keeps no status waiting for an event log that hangs", async () => {
  const { tell, reads } = await noticeOn(() => new Promise(() => {}));
  expect(tell()).toBeUndefined();
  await turn();
  expect(reads()).toBe(1);
});

it("leaves an event log that failed alone for some seconds, for all requests", async () => {
  const { tell, reads, pass } = await noticeOn(() => Promise.reject(new TemperaError("store_unavailable")));
  for (let call = 0; call < 3; call++) {
    tell();
    await turn();
  }
  expect(reads()).toBe(1);
  pass(10_000);
  tell();
  await turn();
  expect(reads()).toBe(2);
});
