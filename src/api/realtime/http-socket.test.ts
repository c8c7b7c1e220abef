import { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { WebSocket } from "ws";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { RequestIdentity } from "../../core/requests/request.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { Budget } from "../limits/budget.ts";
import { createHttpSocket, type InnerFetch } from "./http-socket.ts";

const CALLER = { ownerId: "ann", keyId: "k", scope: "API" } as const;
const OPEN = 1;

let request: RequestIdentity;
let events: EventLog;
let bodies: Budget;
/** True once Postgres knows that the request has ended. */
let recorded: boolean;
beforeEach(() => {
  vi.useFakeTimers();
  events = createMemoryEventLog();
  bodies = new Budget({ things: "bytes waiting", remedy: "", ofOwner: () => 100 });
  recorded = false;
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

/** Opens sockets at one gateway, each as its caller sees it. */
function gateway(fetchInner: InnerFetch) {
  const api = {
    keyRing: { authenticate: async () => CALLER },
    registry: {
      route: (endpoint: string) => (endpoint === "a/b" ? {} : undefined),
      list: () => [{ endpoint: "a/b" }],
      pipelines: () => [],
    },
    requests: {
      find: async () =>
        recorded
          ? {
              ...request,
              keyId: "k",
              submittedAtMs: 0,
              attempts: 1,
              logs: [],
              outcome: { ok: true, output: { inline: {} }, metrics: {} },
            }
          : undefined,
    },
    jobs: { outcome: async () => undefined, describe: async () => undefined },
    clock: { nowMs: () => Date.now() },
    log: { debug() {}, info() {}, warn() {}, error: vi.fn() },
    events,
    bodyBytesMax: 1000,
    budgets: { bodies },
  };
  const open = createHttpSocket(api as unknown as Parameters<typeof createHttpSocket>[0], fetchInner);
  return async (path: string) => {
    const sent: string[] = [];
    const ws = Object.assign(new EventEmitter(), {
      OPEN,
      readyState: OPEN,
      bufferedAmount: 0,
      close: vi.fn(),
      send: (data: string) => sent.push(data),
    });
    const { serve } = await open({ tree: "ws", path, query: new URLSearchParams() }, {
      headers: {},
    } as IncomingMessage);
    serve(ws as unknown as WebSocket);
    return { ws, sent };
  };
}
const connect = (path: string, fetchInner: InnerFetch) => gateway(fetchInner)(path);

it("answers a job whose end the event log has lost, from Postgres", async () => {
  const { ws, sent } = await connect("/a/b", async ({ method }) =>
    Response.json(method === "POST" ? { request_id: request.requestId } : { a: 1 }),
  );
  await events.append(request, { type: "queued", attempt: 0 });
  await events.append(request, { type: "started", attempt: 1, worker: "w" });
  ws.emit("message", Buffer.from("{}"));
  await vi.advanceTimersByTimeAsync(5_000);
  expect(sent).toEqual([]);
  recorded = true; // and the event log does not
  await vi.advanceTimersByTimeAsync(25_000);
  expect(sent.map((message) => JSON.parse(message))).toMatchObject([
    { type: "start", status: 200 },
    { a: 1 },
    { type: "end", status: 200 },
  ]);
  ws.emit("close");
});

it("cancels a stream whose caller disconnects between two events", async () => {
  const cancel = vi.fn();
  let signal: AbortSignal | undefined;
  const { ws, sent } = await connect("/a/b/stream", async (inner) => {
    signal = inner.signal;
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(Buffer.from('data: {"n":1}\n\n')),
      cancel,
    });
    return new Response(body, { headers: { "content-type": "text/event-stream" } });
  });
  ws.emit("message", Buffer.from("{}"));
  await expect.poll(() => sent).toContain('{"n":1}');
  expect(cancel).not.toHaveBeenCalled();
  ws.emit("close");
  await expect.poll(() => cancel).toHaveBeenCalledTimes(1);
  expect(signal?.aborted).toBe(true);
});

it("closes the socket whose payload exceeds its owner's budget, and drops its payloads", async () => {
  const never: InnerFetch = () => new Promise(() => {});
  const [first, second] = [await connect("/a/b", never), await connect("/a/b", never)];
  for (const { ws } of [first, second]) ws.emit("message", Buffer.from("{}")); // in work
  first.ws.emit("message", Buffer.alloc(60));
  second.ws.emit("message", Buffer.alloc(30));
  expect(second.ws.close).not.toHaveBeenCalled();
  second.ws.emit("message", Buffer.alloc(30));
  expect(second.ws.close).toHaveBeenCalledWith(1013, "This would exceed your limit of 100 bytes waiting. ");
  expect(first.ws.close).not.toHaveBeenCalled();
  first.ws.emit("message", Buffer.alloc(40));
  expect(bodies.held).toBe(100);
  first.ws.emit("close");
  second.ws.emit("close");
  expect(bodies.held).toBe(0);
});

it.each(["/x/b", "/a/bb", "/x/b/stream"])(
  "refuses %s with the nearest model that is served",
  async (path) => {
    const open = gateway(() => new Response());
    await expect(open(path)).rejects.toMatchObject({
      code: "endpoint_unknown",
      message: expect.stringMatching(/^Application "bb?" not found; did you mean "a\/b"\?$/),
    });
  },
);
