import { beforeEach, describe, expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { RequestIdentity } from "../../core/requests/request.ts";
import { createWithdrawals } from "./withdraw-job.ts";

const ID = "00000000-0000-7000-8000-000000000001";
const log = { debug() {}, info() {}, warn() {}, error() {} };

let replies: ("withdrawn" | "ended" | "unknown" | "away")[];
let withdrawTries: number;
let noteTries: number;
let storeIsAway: boolean;
let noted: Set<string>;
let dropped: string[];
let cancelled: string[];
let nowMs: number;
let over: () => boolean;
beforeEach(() => {
  replies = [];
  withdrawTries = 0;
  noteTries = 0;
  storeIsAway = false;
  noted = new Set();
  dropped = [];
  cancelled = [];
  nowMs = 0;
  over = () => withdrawTries > 0 && replies.length === 0 && noted.size === 0;
});

/** Withdraws a job; each pause takes a minute of a clock that nobody waits for. */
function withdraw(): Disposable {
  const withdrawals = createWithdrawals(
    {
      log,
      jobs: {
        async withdraw() {
          withdrawTries++;
          const reply = replies.shift() ?? "away";
          if (reply === "away") throw new TemperaError("temporal_unavailable");
          return reply;
        },
      },
      events: {
        announceCancel: async (id: string) => void cancelled.push(id),
        drop: async ({ requestId }: RequestIdentity) => void dropped.push(requestId),
      },
      withdrawals: {
        async note({ requestId }: { requestId: string }) {
          noteTries++;
          if (storeIsAway) throw new TemperaError("store_unavailable");
          noted.add(requestId);
        },
        remove: async (id: string) => void noted.delete(id),
      },
    } as unknown as Parameters<typeof createWithdrawals>[0],
    {
      async pause(_tries, signal) {
        await new Promise((turn) => setImmediate(turn));
        signal.throwIfAborted();
        nowMs += 60_000;
      },
      nowMs: () => nowMs,
    },
  );
  withdrawals.withdrawJob({ requestId: ID, request: { requestId: ID } as RequestIdentity });
  return withdrawals;
}

describe("a withdrawal", () => {
  it("is tried until Temporal replies, ends the attempt that runs, and removes its note", async () => {
    replies = ["away", "away", "away", "withdrawn"];
    using _ = withdraw();
    await expect.poll(over).toBe(true);
    expect(withdrawTries).toBe(4);
    expect({ cancelled, dropped }).toEqual({ cancelled: [ID], dropped: [ID] });
  });

  it("ends a job that arrives after Temporal did not know it", async () => {
    replies = ["unknown", "unknown", "withdrawn"];
    using _ = withdraw();
    await expect.poll(over).toBe(true);
    expect(dropped).toEqual([ID]);
  });

  it("gives up a job that stayed unknown for the whole time, counted from the first reply", async () => {
    const minutes = LIMITS.withdrawalKeptMs / 60_000;
    replies = ["away", "away", ...Array<"unknown">(minutes + 1).fill("unknown")];
    using _ = withdraw();
    await expect.poll(over).toBe(true);
    expect(withdrawTries).toBe(2 + minutes + 1);
    expect(dropped).toEqual([]);
  });

  it("is not delayed by a store that is away, and is noted when that is back", async () => {
    storeIsAway = true;
    replies = ["away", "away"];
    using _ = withdraw();
    await expect.poll(() => noteTries).toBeGreaterThan(1);
    storeIsAway = false;
    await expect.poll(() => noted.size).toBe(1);
    replies = ["withdrawn"];
    await expect.poll(over).toBe(true);
  });

  it("keeps its note when the gateway stops, for an orchestrator", async () => {
    replies = ["away"];
    const withdrawals = withdraw();
    await expect.poll(() => noted.size).toBe(1);
    withdrawals[Symbol.dispose]();
    await expect.poll(() => withdrawTries).toBeGreaterThan(0);
    expect(noted.size).toBe(1);
  });
});
