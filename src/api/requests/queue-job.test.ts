import { beforeEach, describe, expect, it } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { RequestValues } from "../limits/request-values.ts";
import { Reservations } from "../limits/reservations.ts";
import type { NewRequestClaim } from "./claim-request.ts";
import { queueJob } from "./queue-job.ts";

const ID = "00000000-0000-7000-8000-000000000001";
const log = { debug() {}, info() {}, warn() {}, error() {} };
const doubt = new TemperaError("temporal_unavailable", undefined, { inDoubt: true });
const refusal = new TemperaError("temporal_unavailable");

let reply: () => "started" | "exists";
let existing: { fingerprint: string } | undefined;
let withdrawn: string[];
let dropped: string[];
let forgotten: string[];
let inserted: string[];
let released: string[];
let startedClaims: number;
let announced: string[];
let endWithdrawal: (() => void) | undefined;
beforeEach(() => {
  existing = undefined;
  withdrawn = [];
  dropped = [];
  forgotten = [];
  inserted = [];
  released = [];
  startedClaims = 0;
  announced = [];
});

function start(claim?: NewRequestClaim): Promise<number> {
  const api = {
    log,
    jobs: { start: async () => reply(), describe: async () => existing },
    withdrawJob: ({ requestId }: { requestId: string }, onWithdrawn: () => void) => {
      withdrawn.push(requestId);
      endWithdrawal = onWithdrawn;
    },
    events: {
      append: async (_: unknown, { type }: { type: string }) => void announced.push(type),
      drop: async () => void dropped.push(ID),
      forget: async () => void forgotten.push(ID),
    },
    requests: { insert: async () => void inserted.push(ID) },
  } as unknown as Parameters<typeof queueJob>[0];
  const reservations = new Reservations();
  reservations.add({ markRecorded() {}, release: () => void released.push("reservation") });
  const job = { requestId: ID, ownerId: "ann", endpoint: "a/b", version: "1.0.0" } as JobSpec;
  const values = { discard: () => void released.push("values") } as unknown as RequestValues;
  return queueJob(api, { job, ignored: [], reservations, values }, { claim }).started;
}
const claimOf = (shared: boolean): NewRequestClaim => ({
  key: "once",
  fingerprint: "f1",
  shared,
  release: () => void released.push("claim"),
  markStarted: () => void startedClaims++,
});
const throws = (error: Error) => () => {
  throw error;
};

describe("a job whose start is in doubt", () => {
  it("is withdrawn when no idempotency key names it, and the error says so", async () => {
    reply = throws(doubt);
    await expect(start()).rejects.toMatchObject({
      code: "temporal_unavailable",
      message: expect.stringMatching(/not known whether the request was accepted; it is being withdrawn/),
    });
    expect(withdrawn).toEqual([ID]);
    // It may be running: what it reads is deleted when it is certain that it does not run.
    expect(released).toEqual(["reservation"]);
    endWithdrawal?.();
    expect(released).toEqual(["reservation", "values"]);
    await expect.poll(() => dropped).toEqual([ID]);
    expect(inserted).toEqual([]);
  });

  it("is left to the next call with its idempotency key, and the error says so", async () => {
    reply = throws(doubt);
    await expect(start(claimOf(false))).rejects.toMatchObject({
      message: expect.stringMatching(/send it again unchanged, and it is not started twice/),
    });
    expect(withdrawn).toEqual([]);
    expect(released).toEqual(["reservation"]);
    // It may run, so its later events must be taken.
    await expect.poll(() => [...forgotten, ...dropped]).not.toEqual([]);
    expect({ forgotten, dropped }).toEqual({ forgotten: [ID], dropped: [] });
  });
});

describe("a job whose start was not sent", () => {
  it("leaves its idempotency key free, and the error says that nothing was queued", async () => {
    reply = throws(refusal);
    await expect(start(claimOf(false))).rejects.toMatchObject({
      message: expect.stringMatching(/nothing was queued/),
    });
    expect(withdrawn).toEqual([]);
    expect(released).toEqual(["reservation", "claim", "values"]);
    await expect.poll(() => dropped).toEqual([ID]);
  });
});

describe("a job of a claim that another call may have", () => {
  it("is announced once Temporal has started it for this call: its status needs no other store", async () => {
    reply = () => "started";
    await start(claimOf(true));
    await expect.poll(() => announced).toEqual(["queued"]);
  });

  it("is not announced when another call has started it: it may be further by now", async () => {
    reply = () => "exists";
    existing = { fingerprint: "f1" };
    await start(claimOf(true));
    expect(announced).toEqual([]);
  });
});

describe("a job that Temporal has already", () => {
  it("is the answer when it is the same call's", async () => {
    reply = () => "exists";
    existing = { fingerprint: "f1" };
    await start(claimOf(true));
    expect(inserted).toEqual([ID]);
    expect(startedClaims).toBe(1);
  });

  it("is a reused key when another input started it, and stays in the event log", async () => {
    reply = () => "exists";
    existing = { fingerprint: "another" };
    await expect(start(claimOf(false))).rejects.toMatchObject({ code: "idempotency_key_reused" });
    expect(released).toEqual(["reservation", "values", "claim"]);
    expect({ inserted, dropped, withdrawn, startedClaims }).toEqual({
      inserted: [],
      dropped: [],
      withdrawn: [],
      startedClaims: 0,
    });
  });
});
