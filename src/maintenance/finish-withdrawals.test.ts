import { beforeEach, describe, expect, it } from "vitest";
import { TemperaError } from "../core/errors/tempera-error.ts";
import type { RequestIdentity } from "../core/requests/request.ts";
import type { Withdrawal } from "../core/requests/withdrawal.ts";
import { finishWithdrawals } from "./finish-withdrawals.ts";

let noted: Map<string, Withdrawal>;
let unknown: string[];
let dropped: string[];
let answers: Record<string, "withdrawn" | "ended" | "unknown" | "away">;
beforeEach(() => {
  noted = new Map();
  unknown = [];
  dropped = [];
  answers = {};
});

const note = (requestId: string, answer: (typeof answers)[string]): void => {
  noted.set(requestId, { requestId, request: { requestId } as RequestIdentity });
  answers[requestId] = answer;
};
const finish = (): Promise<void> =>
  finishWithdrawals({
    jobs: {
      async withdraw(id) {
        const answer = answers[id] ?? "unknown";
        if (answer === "away") throw new TemperaError("temporal_unavailable");
        return answer;
      },
    },
    events: { announceCancel: async () => {}, drop: async ({ requestId }) => void dropped.push(requestId) },
    withdrawals: {
      list: async (afterId = "", limit) =>
        [...noted.values()].filter(({ requestId }) => requestId > afterId).slice(0, limit),
      markUnknown: async (requestId) => void unknown.push(requestId),
      remove: async (requestId) => void noted.delete(requestId),
    },
  });

describe("the withdrawals of gateways that died", () => {
  it("are over when the job was ended, or had ended; an unknown job is kept for a late start", async () => {
    note("a", "withdrawn");
    note("b", "ended");
    note("c", "unknown");
    await finish();
    expect([...noted.keys()]).toEqual(["c"]);
    expect(unknown).toEqual(["c"]);
    expect(dropped).toEqual(["a"]);
    answers.c = "withdrawn";
    await finish();
    expect(noted.size).toBe(0);
  });

  it("wait while Temporal is away, without an error", async () => {
    note("a", "away");
    note("b", "withdrawn");
    await finish();
    expect([...noted.keys()]).toEqual(["a", "b"]);
  });

  it("are all tried, however many there are", async () => {
    for (let i = 0; i < 250; i++) note(String(i).padStart(3, "0"), "withdrawn");
    await finish();
    expect(noted.size).toBe(0);
  });
});
