/** The status stream over an event log in memory. */
import { Hono } from "hono";
import { expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { LogLevel } from "../../core/requests/events.ts";
import type { RequestIdentity } from "../../core/requests/request.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { createStatusStream } from "./status-stream.ts";

const REQUEST_ID = "019a1b2c-0000-7000-8000-000000000000";
const REQUEST = {
  requestId: REQUEST_ID,
  ownerId: "ann",
  endpoint: "a/b",
  taskQueue: "q",
  priority: "normal",
  submittedAtMs: 1,
} as unknown as RequestIdentity;

interface Status {
  id: string | undefined;
  status: string;
  logs: { message: string }[];
}

function start() {
  const events = createMemoryEventLog();
  const api = {
    clock: { nowMs: () => 0 },
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    events,
    requests: { find: async () => undefined },
    budgets: wideBudgets(),
    jobs: { describe: async () => undefined, outcome: async () => undefined },
    log: { debug() {}, info() {}, warn() {}, error() {} },
  };
  const stream = createStatusStream(api as unknown as ApiDependencies);
  const gateway = new Hono().get("/", (c) => stream(c, { endpoint: "a/b", requestId: REQUEST_ID } as never));
  /** Opens the stream. Each call of `next` resolves to its next status. */
  const open = async (lastEventId?: string, query = "") => {
    const headers = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
    const { body } = await gateway.request(`/?logs=1${query}`, { headers });
    const reader = (body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    return {
      async next(): Promise<Status> {
        while (!text.includes("data: ") || !text.includes("\n\n")) {
          const { value, done } = await reader.read();
          if (done) throw new Error(`the stream ended: ${text}`);
          text = (text + value).replaceAll(/^:.*\n\n/gm, "");
        }
        const [event = ""] = text.split("\n\n");
        text = text.slice(event.length + 2);
        const { status, logs } = JSON.parse(/^data: (.*)$/m.exec(event)?.[1] ?? "");
        return { id: /^id: (.*)$/m.exec(event)?.[1], status, logs };
      },
      close: () => reader.cancel(),
    };
  };
  const log = (message: string, level: LogLevel = "WARN") =>
    events.append(REQUEST, { type: "log", attempt: 1, level, message });
  return { events, open, log };
}

const messages = ({ status, logs }: Status) => [status, ...logs.map(({ message }) => message)];

it("sends log lines of the queue with IN_PROGRESS, since typed clients read none in IN_QUEUE", async () => {
  const { events, open, log } = start();
  await events.append(REQUEST, { type: "queued", attempt: 1 });
  await log("at submit");
  const stream = await open();
  expect(messages(await stream.next())).toEqual(["IN_QUEUE"]);
  await log("while it waits");
  expect(messages(await stream.next())).toEqual(["IN_QUEUE"]);
  await events.append(REQUEST, { type: "started", attempt: 1, worker: "w" });
  expect(messages(await stream.next())).toEqual(["IN_PROGRESS", "at submit", "while it waits"]);
  await log("while it runs");
  expect(messages(await stream.next())).toEqual(["IN_PROGRESS", "while it runs"]);
  await events.complete(REQUEST, { ok: true, output: { inline: {} }, metrics: {} });
  expect(messages(await stream.next())).toEqual(["COMPLETED"]);
  await events.close();
});

it("sends them at once to a caller who asks for them", async () => {
  const { events, open, log } = start();
  await events.append(REQUEST, { type: "queued", attempt: 1 });
  await log("at submit");
  const stream = await open(undefined, "&queue_logs=1");
  expect(messages(await stream.next())).toEqual(["IN_QUEUE", "at submit"]);
  await events.append(REQUEST, { type: "started", attempt: 1, worker: "w" });
  expect(messages(await stream.next())).toEqual(["IN_PROGRESS"]);
  await stream.close();
  await events.close();
});

it("sends them also when it resumes after a status of the queue", async () => {
  const { events, open, log } = start();
  await events.append(REQUEST, { type: "queued", attempt: 1 });
  await log("at submit");
  const first = await open();
  const { id } = await first.next();
  await first.close();
  await events.append(REQUEST, { type: "started", attempt: 1, worker: "w" });
  const second = await open(id);
  expect(messages(await second.next())).toEqual(["IN_PROGRESS", "at submit"]);
  await second.close();
  await events.close();
});
