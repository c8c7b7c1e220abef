import { Hono } from "hono";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { EventLog } from "../../core/ports/event-log.ts";
import type { Outcome, RequestIdentity } from "../../core/request.ts";
import { newRequestId } from "../../core/request-id.ts";
import { createStatusStream } from "./status-stream.ts";

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

it("a status stream ends although the log forgot the request before the end was read", async () => {
  const stream = createStatusStream({
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    events,
    requests: {
      find: async () => recorded && { ...request, keyId: "k", submittedAtMs: 0, attempts: 1, logs: [], outcome: recorded },
    },
    jobs: { outcome: async () => undefined, describe: async () => undefined },
    clock: { nowMs: () => Date.now() },
  } as never);
  await events.append(request, { type: "queued", attempt: 0 });
  const app = new Hono().get("/", (c) => stream(c, { verb: "stream", endpoint: "a/b", requestId: request.requestId }));
  const answer = await app.request("/");
  let told = "";
  const write = (text: string): void => {
    told += text;
  };
  const ended = answer.body?.pipeThrough(new TextDecoderStream()).pipeTo(new WritableStream({ write }));
  await vi.advanceTimersByTimeAsync(1);
  expect(told).toContain('"status":"IN_QUEUE"');
  for (let others = 0; others < 2; others++) await events.append({ ...request, requestId: newRequestId() }, { type: "queued", attempt: 0 });
  await events.complete(request, OUTCOME);
  recorded = OUTCOME;
  await vi.advanceTimersByTimeAsync(30_000);
  expect(told.match(/"status":"COMPLETED"/g)).toHaveLength(1);
  await ended;
});
