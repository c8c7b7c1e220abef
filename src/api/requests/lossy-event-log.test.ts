/**
 * An event log that loses a request before its end was read: whoever follows the request still gets the end,
 * from the other stores.
 */
import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { Outcome, RequestIdentity } from "../../core/requests/request.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { createStatusStream } from "../queue/status-stream.ts";
import { followJob } from "../run/follow-job.ts";
import { createFindRequest } from "./find-request.ts";

const CALLER = { ownerId: "ann", keyId: "k", scope: "API" } as const;
const OUTCOME: Outcome = { ok: true, output: { inline: { a: 1 } }, metrics: {} };

let events: EventLog;
let request: RequestIdentity;
/** The outcome in Postgres. */
let recorded: Outcome | undefined;
beforeEach(() => {
  vi.useFakeTimers();
  recorded = undefined;
  events = createMemoryEventLog({ requestsMax: 2 });
  request = {
    requestId: newRequestId(),
    ownerId: "ann",
    endpoint: "a/b",
    version: "1.0.0",
    taskQueue: "q",
    priority: "normal",
  };
});
afterEach(async () => {
  await events.close();
  vi.useRealTimers();
});

/** The stores of the gateway. */
const api = () =>
  ({
    keyRing: { authenticate: async () => CALLER },
    events,
    requests: {
      find: async () =>
        recorded && { ...request, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [], outcome: recorded },
    },
    budgets: wideBudgets(),
    jobs: { outcome: async () => undefined, describe: async () => undefined },
    clock: { nowMs: () => Date.now() },
  }) as never;

/** Evicts the request, since the log has room for two, and ends it then. */
async function endForgotten(): Promise<void> {
  for (let others = 0; others < 2; others++)
    await events.append({ ...request, requestId: newRequestId() }, { type: "queued", attempt: 0 });
  await events.complete(request, OUTCOME);
  recorded = OUTCOME;
}

describe("following a job", () => {
  /** Follows it, and puts the events into the returned list. */
  function follow(afterId?: string) {
    const received: string[] = [];
    const followed = {
      caller: CALLER,
      requestId: request.requestId,
      ...(afterId !== undefined && { afterId }),
    };
    const ended = (async () => {
      const from = { api: api(), findRequest: createFindRequest(api()) };
      for await (const { event } of followJob(from, followed, new AbortController().signal))
        received.push(event.type);
    })();
    return { received, ended };
  }

  it("yields the end from the other stores when the log lost the request in between", async () => {
    await events.append(request, { type: "queued", attempt: 0 });
    const { received, ended } = follow();
    await vi.advanceTimersByTimeAsync(1);
    await endForgotten();
    await vi.advanceTimersByTimeAsync(30_000);
    expect(received).toEqual(["queued", "done"]);
    await ended;
  });

  it("yields the end from the other stores when the request's log is gone as a whole", async () => {
    recorded = OUTCOME;
    const { received, ended } = follow("1700000000000-3");
    await vi.advanceTimersByTimeAsync(30_000);
    expect(received).toEqual(["done"]);
    await ended;
  });
});

it("ends a status stream although the log lost the request before its end was read", async () => {
  const stream = createStatusStream(api());
  await events.append(request, { type: "queued", attempt: 0 });
  const app = new Hono().get("/", (c) =>
    stream(c, { action: "stream", endpoint: "a/b", requestId: request.requestId }),
  );
  const answer = await app.request("/");
  let received = "";
  const write = (text: string): void => {
    received += text;
  };
  const ended = answer.body?.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }));
  await vi.advanceTimersByTimeAsync(1);
  expect(received).toContain('"status":"IN_QUEUE"');
  await endForgotten();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(received.match(/"status":"COMPLETED"/g)).toHaveLength(1);
  await ended;
});
