import { expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { SessionSpec, ToGateway, ToWorker } from "../../core/requests/session.ts";
import { Budget } from "../limits/budget.ts";
import { openSession, type SessionListener } from "./session.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };
const frames = { openGateway: async () => ({ send: async () => {}, close: async () => {} }) };
const sessions = { start: async () => {}, cancel: async () => {} };

const bytes = (ofOwner: number, total = 1000) =>
  new Budget({ things: "bytes", remedy: "", ofOwner: () => ofOwner, total: () => total });

/** A session of an owner that no GPU worker holds, so that its inputs wait. */
function open(bodies: Budget, ownerId: string, channel: object = frames) {
  const dropped: number[] = [];
  const listener: SessionListener = {
    output: vi.fn(),
    settled: vi.fn(),
    dropped: (sequences: number[]) => void dropped.push(...sequences),
    resumed: vi.fn(),
    failed: vi.fn(),
  };
  const api = { sessions, frames: channel, log, budgets: { bodies } } as unknown as Parameters<
    typeof openSession
  >[0];
  const spec = { sessionId: "s", ownerId, pulseMs: 1000, startMs: 60_000 } as SessionSpec;
  return {
    session: openSession(api, spec, { bufferedMax: 60, inFlightMax: 4 }, listener),
    listener,
    dropped,
  };
}

it.each([
  ["its owner's part of the budget", bytes(100), "ann"],
  ["the budget of all owners", bytes(1000, 100), "bob"],
])("drops the oldest inputs of the session that exceeds %s", async (_, budget, other) => {
  const [first, second] = [open(budget, "ann"), open(budget, other)];
  first.session.send(new Uint8Array(60), false);
  second.session.send(new Uint8Array(30), false);
  second.session.send(new Uint8Array(30), false);
  expect(second.dropped).toEqual([1]);
  expect(first.dropped).toEqual([]);
  await first.session.close();
  second.session.send(new Uint8Array(60), false);
  expect(second.dropped).toEqual([1]);
  second.session.send(new Uint8Array(101), false); // more than there is at all
  expect(second.dropped).toEqual([1, 2, 3, 4]);
  second.session.send(new Uint8Array(10), false);
  await second.session.close();
  expect(budget.held).toBe(0);
});

it.each([
  ["a settled input", { type: "settled", attempt: 1, sequence: 1 }, "settled"],
  ["a lost input", { type: "pulse", attempt: 1, settledThrough: 1 }, "dropped"],
  ["another engine", { type: "pulse", attempt: 2, settledThrough: 0 }, "resumed"],
] as [string, ToGateway, keyof SessionListener][])(
  "takes the end of a session by its listener, upon %s, with inputs that wait",
  async (_, message, event) => {
    let receive: (message: ToGateway) => void = () => {};
    const sent: ToWorker[] = [];
    const openGateway = async (_id: string, listener: typeof receive) => {
      receive = listener;
      return { send: async (to: ToWorker) => void sent.push(to), close: async () => {} };
    };
    const budget = bytes(1000);
    const { session, listener } = open(budget, "ann", { openGateway });
    listener[event] = vi.fn(() => void session.close());
    receive({ type: "pulse", attempt: 1, worker: "w", settledThrough: 0 });
    await Promise.resolve();
    for (let i = 0; i < 6; i++) session.send(new Uint8Array(10), false);
    receive(message);
    expect(listener[event]).toHaveBeenCalledOnce();
    await session.close();
    expect(sent.filter(({ type }) => type === "input")).toHaveLength(4);
    expect(budget.held).toBe(0);
  },
);

it("withdraws a session whose start is in doubt, and no other one", async () => {
  const withdrawn: string[] = [];
  for (const inDoubt of [true, false]) {
    await new Promise<void>((done) => {
      openSession(
        {
          sessions: {
            start: () => Promise.reject(new TemperaError("temporal_unavailable", undefined, { inDoubt })),
            cancel: async () => {},
          },
          frames,
          log,
          budgets: { bodies: bytes(100) },
          withdrawJob: ({ requestId }: { requestId: string }) => void withdrawn.push(requestId),
        } as unknown as Parameters<typeof openSession>[0],
        { sessionId: `in doubt: ${inDoubt}`, pulseMs: 1000, startMs: 60_000 } as SessionSpec,
        { bufferedMax: 60, inFlightMax: 4 },
        {
          output: vi.fn(),
          settled: vi.fn(),
          dropped: vi.fn(),
          resumed: vi.fn(),
          failed: () => done(),
        },
      );
    });
  }
  expect(withdrawn).toEqual(["in doubt: true"]);
});
