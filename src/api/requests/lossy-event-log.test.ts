/**
 * An event log that forgets a request before its end was read: what follows the request ends all the same,
 * from the other stores.
 */
import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
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
/** What Postgres knows. */
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

/** The stores as the gateway has them. */
const api = () =>
  ({
    keyRing: { authenticate: async () => CALLER },
    events,
    requests: {
      find: async () =>
        recorded && { ...request, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [], outcome: recorded },
    },
    jobs: { outcome: async () => undefined, describe: async () => undefined },
    clock: { nowMs: () => Date.now() },
  }) as never;

/** The log has room for two requests: this one goes, and then ends. */
async function endForgotten(): Promise<void> {
  for (let others = 0; others < 2; others++)
    await events.append({ ...request, requestId: newRequestId() }, { type: "queued", attempt: 0 });
  await events.complete(request, OUTCOME);
  recorded = OUTCOME;
}

describe("a job that is followed", () => {
  /** Follows it, and puts what is told into the returned list. */
  function follow(afterId?: string) {
    const told: string[] = [];
    const followed = {
      caller: CALLER,
      requestId: request.requestId,
      ...(afterId !== undefined && { afterId }),
    };
    const ended = (async () => {
      const from = { api: api(), findRequest: createFindRequest(api()) };
      for await (const { event } of followJob(from, followed, new AbortController().signal))
        told.push(event.type);
    })();
    return { told, ended };
  }

  it("is told from the other stores when the log forgot it before anybody looked", async () => {
    await events.append(request, { type: "queued", attempt: 0 });
    const { told, ended } = follow();
    await vi.advanceTimersByTimeAsync(1);
    await endForgotten();
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

it("a status stream ends although the log forgot the request before the end was read", async () => {
  const stream = createStatusStream(api());
  await events.append(request, { type: "queued", attempt: 0 });
  const app = new Hono().get("/", (c) =>
    stream(c, { action: "stream", endpoint: "a/b", requestId: request.requestId }),
  );
  const answer = await app.request("/");
  let told = "";
  const write = (text: string): void => {
    told += text;
  };
  const ended = answer.body?.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }));
  await vi.advanceTimersByTimeAsync(1);
  expect(told).toContain('"status":"IN_QUEUE"');
  await endForgotten();
  await vi.advanceTimersByTimeAsync(30_000);
  expect(told.match(/"status":"COMPLETED"/g)).toHaveLength(1);
  await ended;
});
