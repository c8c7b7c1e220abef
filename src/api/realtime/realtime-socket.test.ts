import { EventEmitter } from "node:events";
import type { IncomingMessage } from "node:http";
import { encode } from "@msgpack/msgpack";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { WebSocket } from "ws";
import { LIMITS } from "../../core/limits.ts";
import type { ModelVersion } from "../../core/models/model.ts";
import type { ToGateway, ToWorker } from "../../core/requests/session.ts";
import { createInputCheck } from "../../registry/input-check.ts";
import { Budget } from "../limits/budget.ts";
import type { Budgets } from "../limits/budgets.ts";
import { Turns } from "../limits/turns.ts";
import { createRealtimeSocket } from "./realtime-socket.ts";
import type { ServedSocket } from "./socket-end.ts";

it("names the nearest model that is served when it refuses an unknown one", async () => {
  const api = {
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    registry: {
      route: (endpoint: string) => (endpoint === "tempera/stub" ? {} : undefined),
      list: () => [{ endpoint: "tempera/stub" }],
      pipelines: () => [],
    },
    realtime: { sessionsMax: 1 },
  };
  const open = createRealtimeSocket(api as unknown as Parameters<typeof createRealtimeSocket>[0]);
  const query = new URLSearchParams();
  const request = { headers: {} } as IncomingMessage;
  await expect(open({ tree: "run", path: "/fal-ai/stub/realtime", query }, request)).rejects.toThrow(
    'Application "stub" not found; did you mean "tempera/stub"?',
  );
});

const MODEL = {
  endpoint: "a/b",
  version: "1.0.0",
  digest: "d",
  realtime: true,
  retry: {},
  timeouts: {},
  schemas: { input: { type: "object", properties: { n: { type: "array" } } }, output: {} },
  restrictions: [],
} as unknown as ModelVersion;
const OPEN = 1;
const CLOSING = 2;
const LARGE_VALUES = LIMITS.frameTurnBytesMin;
const largeInput = (first: number): { n: number[] } => ({
  n: [first, ...Array<number>(LARGE_VALUES).fill(0)],
});

/** Ends of rests, which every piece of work needs. */
let rests: (() => void)[];
let budgets: Pick<Budgets, "bodies" | "turns">;
beforeEach(() => {
  const own: typeof rests = [];
  let nowMs = 0;
  rests = own;
  budgets = {
    bodies: new Budget({ things: "bytes", remedy: "", ofOwner: () => 1e6 }),
    turns: new Turns({
      nowMs: () => (nowMs += LIMITS.turnWithoutRestMs),
      rest: () => new Promise<void>((wake) => void own.push(wake)),
    }),
  };
});

/** Opens a socket, as its caller and its engine see it. */
async function open(ownerId = "ann", path = "/a/b/realtime") {
  const sent: (string | Uint8Array)[] = [];
  const inputs: unknown[] = [];
  let listen: (message: ToGateway) => void = () => {};
  const receive = (message: ToGateway): void => listen(message);
  const api = {
    keyRing: { authenticate: async () => ({ ownerId, keyId: "k", scope: "API" }), recall: async () => ({}) },
    registry: {
      route: (endpoint: string) =>
        endpoint === MODEL.endpoint ? { model: MODEL, checkInput: createInputCheck(MODEL) } : undefined,
    },
    flags: { isOn: () => true },
    frames: {
      openGateway: async (_id: string, listener: typeof listen) => {
        listen = listener;
        return {
          send: async (message: ToWorker) => {
            if (message.type === "input") inputs.push(message.frame.sequence);
          },
          close: async () => {},
        };
      },
    },
    sessions: { start: async () => {}, cancel: async () => {} },
    log: { debug() {}, info() {}, warn() {}, error: vi.fn() },
    budgets,
    realtime: { sessionsMax: 9, idleMs: 60_000 },
  };
  const ws = Object.assign(new EventEmitter(), {
    OPEN,
    readyState: OPEN,
    bufferedAmount: 0,
    pause: vi.fn(),
    resume: vi.fn(),
    terminate: vi.fn(),
    send: (data: string | Uint8Array) => sent.push(data),
    close: vi.fn(() => {
      ws.readyState = CLOSING;
    }),
  });
  const connect = createRealtimeSocket(api as unknown as Parameters<typeof createRealtimeSocket>[0]);
  const { serve } = await connect({ tree: "run", path, query: new URLSearchParams() }, {
    headers: {},
    socket: {},
  } as unknown as IncomingMessage);
  const served: ServedSocket = serve(ws as unknown as WebSocket);
  receive({ type: "pulse", attempt: 1, worker: "w", settledThrough: 0 });
  await Promise.resolve();
  const say = (input: object): void => void ws.emit("message", Buffer.from(encode(input)), true);
  const sayText = (input: object): void => void ws.emit("message", Buffer.from(JSON.stringify(input)), false);
  const output = (sequence: number, value: object): void =>
    receive({ type: "output", attempt: 1, frame: { sequence, payload: encode(value) } });
  const settle = (sequence: number): void => receive({ type: "settled", attempt: 1, sequence });
  const outputs = (): unknown[] =>
    sent
      .filter((message): message is string => typeof message === "string")
      .map((message) => JSON.parse(message) as { n?: number[]; action?: string; error?: string })
      .map(({ n, action, error }) => n?.[0] ?? action ?? error);
  const end = (): void => void ws.emit("close");
  return { ws, served, say, sayText, output, settle, outputs, inputs, sent, end, receive };
}

const rested = async (): Promise<void> => {
  await expect.poll(() => rests.length).toBeGreaterThan(0);
  for (const wake of rests.splice(0)) wake();
};

describe("large frames", () => {
  it("of one owner are read in its turns; another owner's are read meanwhile", async () => {
    const [first, second, other] = [await open(), await open(), await open("bob")];
    first.say(largeInput(1));
    await expect.poll(() => first.inputs).toEqual([1]);
    await expect.poll(() => rests.length).toBe(1);
    second.say(largeInput(1));
    other.say(largeInput(1));
    await expect.poll(() => other.inputs).toEqual([1]);
    expect(second.inputs).toEqual([]);
    await expect.poll(() => rests.length).toBeGreaterThan(1);
    while (second.inputs.length === 0) await rested();
    for (const { end } of [first, second, other]) end();
    expect(budgets.bodies.held).toBe(0);
  });

  it("stop the reading of their socket, and small ones that are there already stay behind them", async () => {
    const { ws, say, sayText, sent, inputs, end } = await open();
    say(largeInput(1));
    expect(ws.pause).toHaveBeenCalledTimes(1);
    say({ n: [2] });
    say({ n: "three" });
    sayText(largeInput(4));
    expect([inputs, sent, ws.resume.mock.calls.length]).toEqual([[], [], 0]);
    expect(budgets.bodies.held).toBeGreaterThan(2 * LARGE_VALUES);
    while (inputs.length < 3) await rested();
    expect(sent).toHaveLength(1); // the fault of the third
    expect(inputs).toEqual([1, 2, 3]);
    expect([ws.pause.mock.calls.length, ws.resume.mock.calls.length]).toEqual([1, 1]);
    end();
    expect(budgets.bodies.held).toBe(0);
  });

  it("as outputs are written as JSON in turns, and everything after them comes after them", async () => {
    const { sayText, output, settle, outputs, inputs, receive, ws, end } = await open();
    for (const n of [1, 2]) sayText({ n: [n] });
    while (inputs.length < 2) await rested();
    output(1, largeInput(11));
    output(1, { n: [12] });
    settle(1);
    output(2, largeInput(21));
    receive({
      type: "ended",
      attempt: 1,
      error: { code: "internal_error", message: "It broke." },
      final: true,
    });
    expect(outputs()).toEqual([]);
    expect(ws.close).not.toHaveBeenCalled();
    while (outputs().length < 5) await rested();
    expect(outputs()).toEqual([11, 12, "timings", 21, "INTERNAL_ERROR"]);
    expect(ws.close).toHaveBeenCalledTimes(1);
    end();
    expect(budgets.bodies.held).toBe(0);
  });

  it("that wait are dropped when their caller leaves, or the gateway stops; nothing is held", async () => {
    const blocker = await open();
    blocker.say(largeInput(0));
    await expect.poll(() => rests.length).toBe(1);
    const [left, stopped] = [await open(), await open()];
    for (const { say } of [left, stopped]) {
      say(largeInput(1));
      say({ n: [2] });
    }
    left.end();
    await stopped.served.goAway();
    expect(stopped.ws.close).toHaveBeenCalledTimes(1);
    expect(stopped.ws.resume).toHaveBeenCalledTimes(1); // to read the answer to the close
    blocker.end();
    expect(budgets.bodies.held).toBe(0);
    stopped.say({ n: [3] });
    const last = await open();
    last.say(largeInput(1));
    while (last.inputs.length === 0) await rested();
    expect([left.inputs, stopped.inputs]).toEqual([[], []]);
    last.end();
    stopped.end();
  });

  it("end the socket when they would exceed what their owner may have in memory", async () => {
    const blocker = await open();
    blocker.say(largeInput(0));
    await expect.poll(() => rests.length).toBe(1);
    const { ws, say, end } = await open();
    say({ n: ["x".repeat(600_000)] });
    say({ n: ["x".repeat(600_000)] });
    expect(ws.close).toHaveBeenCalledWith(1013, expect.stringContaining("This would exceed your limit"));
    end();
    blocker.end();
    expect(budgets.bodies.held).toBe(0);
  });
});

it.each([
  ["an image as bytes", "/a/b/realtime", { image: new Uint8Array(100 * 1024) }],
  ["a large frame of a raw socket", "/a/b", largeInput(1)],
])("reads %s at once", async (_, path, input) => {
  const { say, inputs, ws, end } = await open("ann", path);
  say(input);
  expect([inputs, ws.pause.mock.calls.length]).toEqual([[1], 0]);
  end();
});

it.each(["/a/b/realtime", "/a/b"])(
  "reads a flood of small frames on %s in turns, once they have had their owner's time",
  async (path) => {
    const { say, inputs, ws, end } = await open("ann", path);
    const other = await open("bob", path);
    for (let n = 0; n < 3; n++) say({ n: [n] });
    other.say({ n: [0] });
    expect([inputs, other.inputs]).toEqual([[1], [1]]);
    while (inputs.length < 3) await rested();
    expect(inputs).toEqual([1, 2, 3]);
    expect(ws.resume).toHaveBeenCalledTimes(ws.pause.mock.calls.length);
    end();
    other.end();
  },
);
