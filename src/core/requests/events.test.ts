import { describe, expect, it } from "vitest";
import { advance, firstSnapshot, isAfter, parseEventId, type RequestEvent, type Snapshot } from "./events.ts";
import type { Outcome, RequestIdentity } from "./request.ts";

const REQUEST: RequestIdentity = {
  requestId: "r",
  ownerId: "o",
  endpoint: "a/b",
  version: "1.0.0",
  taskQueue: "gpu/a/b/1.0.0",
  priority: "normal",
};
const OK: Outcome = { ok: true, output: { inline: {} }, metrics: { inference_time: 1 } };
const FAILED: Outcome = { ok: false, error: { code: "runner_disconnected", message: "gone" }, metrics: {} };

/** Applies events as a log does: returns the snapshot after the legal ones. */
function play(...events: RequestEvent[]): Snapshot {
  let snapshot = firstSnapshot(REQUEST, events[0] as RequestEvent, 0);
  events.forEach((event, atMs) => {
    snapshot = { ...snapshot, ...advance(snapshot, event, atMs) };
  });
  return snapshot;
}

const queued = (attempt: number): RequestEvent => ({ type: "queued", attempt });
const started = (attempt: number): RequestEvent => ({ type: "started", attempt, worker: "w" });
const progress = (attempt: number, step: number): RequestEvent => ({
  type: "progress",
  attempt,
  step,
  steps: 30,
});
const done = (outcome: Outcome): RequestEvent => ({ type: "done", outcome });

describe("a request's state", () => {
  it("goes IN_QUEUE → IN_PROGRESS → COMPLETED, with the times of each", () => {
    expect(play(queued(0))).toMatchObject({ state: "IN_QUEUE", attempt: 0, queuedAtMs: 0 });
    expect(play(queued(0), started(1))).toMatchObject({ state: "IN_PROGRESS", attempt: 1, startedAtMs: 1 });
    expect(play(queued(0), started(1), progress(1, 7), done(OK))).toMatchObject({
      state: "COMPLETED",
      endedAtMs: 3,
      progress: { step: 7, steps: 30 },
      metrics: { inference_time: 1 },
    });
  });

  it("goes back to IN_QUEUE when an attempt failed, and forward again", () => {
    expect(play(queued(0), started(1), queued(1)).state).toBe("IN_QUEUE");
    expect(play(queued(0), started(1), queued(1), started(2))).toMatchObject({
      state: "IN_PROGRESS",
      attempt: 2,
    });
  });

  it("drops the events of an abandoned attempt", () => {
    const now = play(queued(0), started(1), queued(1), started(2));
    for (const event of [
      queued(1),
      started(1),
      progress(1, 30),
      { type: "log", attempt: 1, level: "INFO", message: "late" } as const,
    ])
      expect(advance(now, event, 9)).toBeUndefined();
  });

  it("drops everything after the end, a second end too", () => {
    const over = play(queued(0), done(FAILED));
    expect(over).toMatchObject({ state: "COMPLETED", error: { code: "runner_disconnected" } });
    for (const event of [queued(9), started(9), progress(9, 1), done(OK)])
      expect(advance(over, event, 9)).toBeUndefined();
  });

  it("accepts the end in any state, because a cancel may come before the start", () => {
    expect(advance(undefined, done(OK), 4)).toMatchObject({ state: "COMPLETED", endedAtMs: 4 });
    expect(advance(play(queued(0)), done(FAILED), 4)).toMatchObject({
      error: { code: "runner_disconnected" },
    });
  });

  it("changes nothing on a log line", () =>
    expect(advance(play(queued(0)), { type: "log", attempt: 0, level: "INFO", message: "x" }, 1)).toEqual(
      {},
    ));

  it("is IN_PROGRESS when the first event comes from an attempt", () => {
    expect(play(progress(3, 4))).toMatchObject({ state: "IN_PROGRESS", attempt: 3, progress: { step: 4 } });
    expect(play(queued(2)).state).toBe("IN_QUEUE");
    expect(play(done(OK)).state).toBe("COMPLETED");
  });

  it("contains only the identity of what it was made from", () => {
    const given = { ...REQUEST, keyId: "secret", input: { inline: {} } };
    expect(Object.keys(firstSnapshot(given, queued(0), 0)).sort()).toEqual(
      [
        "attempt",
        "endpoint",
        "ownerId",
        "priority",
        "queuedAtMs",
        "requestId",
        "state",
        "taskQueue",
        "version",
      ].sort(),
    );
  });
});

describe("event ids", () => {
  it("are ordered as numbers, not as text", () => {
    expect(isAfter("5-10", "5-9")).toBe(true);
    expect(isAfter("10-0", "9-99")).toBe(true);
    expect(isAfter("5-9", "5-9")).toBe(false);
    expect(isAfter("5-8", "5-9")).toBe(false);
  });

  it("treat ids that no log has given out as absent", () => {
    for (const id of ["", "5", "-", "5-", "$", "+", "5-1-2", "99999999999999999-0", " 5-1", "５-1"]) {
      expect(parseEventId(id)).toBeUndefined();
      expect(isAfter("5-1", id)).toBe(true);
    }
    expect(isAfter("5-1", undefined)).toBe(true);
  });
});
