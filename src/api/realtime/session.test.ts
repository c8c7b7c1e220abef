import { expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { SessionSpec } from "../../core/requests/session.ts";
import { createByteBudget } from "./byte-budget.ts";
import { openSession } from "./session.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };
const frames = { openGateway: async () => ({ send: async () => {}, close: async () => {} }) };
const sessions = { start: async () => {}, cancel: async () => {} };

/** A session that no GPU worker holds, so that its inputs wait. */
function open(inputs: ReturnType<typeof createByteBudget>) {
  const dropped: number[] = [];
  const listener = {
    output: vi.fn(),
    settled: vi.fn(),
    dropped: (sequences: number[]) => void dropped.push(...sequences),
    resumed: vi.fn(),
    failed: vi.fn(),
  };
  const api = { sessions, frames, log, inputs } as unknown as Parameters<typeof openSession>[0];
  const spec = { sessionId: "s", pulseMs: 1000, startMs: 60_000 } as SessionSpec;
  return { session: openSession(api, spec, { bufferedMax: 60, inFlightMax: 4 }, listener), dropped };
}

it("drops the oldest inputs of the session that exceeds the shared budget", async () => {
  const inputs = createByteBudget(100);
  const [ann, bob] = [open(inputs), open(inputs)];
  ann.session.send(new Uint8Array(60), false);
  bob.session.send(new Uint8Array(30), false);
  bob.session.send(new Uint8Array(30), false);
  expect(bob.dropped).toEqual([1]);
  expect(ann.dropped).toEqual([]);
  await ann.session.close();
  bob.session.send(new Uint8Array(60), false);
  expect(bob.dropped).toEqual([1]);
  bob.session.send(new Uint8Array(101), false); // more than there is at all
  expect(bob.dropped).toEqual([1, 2, 3, 4]);
  expect(inputs.exceeded).toBe(false);
  await bob.session.close();
});

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
          inputs: createByteBudget(100),
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
