import { Hono } from "hono";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { claimedRequestId, dayOf } from "../../core/requests/claimed-request-id.ts";
import type { ClaimName } from "../../core/requests/idempotency-store.ts";
import type { JobDescription } from "../../core/requests/jobs.ts";
import { requestIdOf } from "../http/request-id.ts";
import { type ClaimedRequest, createClaimRequest } from "./claim-request.ts";
import { fingerprintOf } from "./idempotency-key.ts";

const CALLER = { ownerId: "ann", keyId: "k", scope: "API" as const };
const NAME: ClaimName = { ownerId: "ann", key: "key:once" };
const HOUR_MS = 3_600_000;
const NOON_MS = Date.UTC(2026, 0, 2, 12);
const log = { debug() {}, info() {}, warn() {}, error() {} };

/** The jobs that Temporal has, by id. */
let jobs: Map<string, JobDescription>;
/** The requests whose outcome PostgreSQL has. */
let records: Map<string, object>;
let temporalIsAway: boolean;
let storeIsAway: boolean;
let stored: { name: ClaimName; requestId: string }[];
let claimRequest: ReturnType<typeof createClaimRequest>;
beforeEach(() => {
  jobs = new Map();
  records = new Map();
  temporalIsAway = false;
  storeIsAway = true;
  stored = [];
  const away = new TemperaError("store_unavailable");
  claimRequest = createClaimRequest({
    log,
    clock: { nowMs: () => NOON_MS },
    limits: {
      of: async ({ keyId }: { keyId: string }) => ({
        owner: keyId === "never the same" ? {} : { sameInputSeconds: 30 },
        key: {},
      }),
    },
    claims: {
      async claim(name: ClaimName, claim: { requestId: string; fingerprint: string }) {
        if (storeIsAway) throw away;
        const previous = stored.find(({ name: { key } }) => key === name.key);
        if (previous) return { ...claim, requestId: previous.requestId, isOwn: false, ageMs: 0 };
        stored.push({ name, requestId: claim.requestId });
        return { ...claim, isOwn: true, ageMs: 0 };
      },
    },
    events: { snapshot: () => Promise.reject(away) },
    requests: {
      async find(id: string) {
        if (storeIsAway) throw away;
        return records.get(id);
      },
    },
    jobs: {
      async describe(id: string) {
        if (temporalIsAway) throw new TemperaError("temporal_unavailable");
        return jobs.get(id);
      },
      outcome: async () => ({ ok: false, error: { code: "internal_error", message: "" }, metrics: {} }),
    },
  } as unknown as Parameters<typeof createClaimRequest>[0]);
});

/** Makes a call with an idempotency key. */
async function claim(input: object, key: string | undefined = "once") {
  let claiming: Promise<{ claimed: ClaimedRequest | undefined; requestId: string }> | undefined;
  const app = new Hono().post("/", (c) => {
    claiming = claimRequest(c, { caller: CALLER, endpoint: "a/b", readInput: () => ({ ...input }) }).then(
      (claimed) => ({
        claimed,
        requestId: requestIdOf(c),
      }),
    );
    claiming.catch(() => {});
    return c.body(null);
  });
  await app.request("/", { method: "POST", headers: key ? { "idempotency-key": key } : {} });
  const done = await claiming;
  if (!done) throw new Error("no call");
  return done;
}
const idOf = (agoMs: number): string => claimedRequestId(NAME, dayOf(NOON_MS - agoMs));
const startedBefore = (agoMs: number, input: object, state: "IN_QUEUE" | "COMPLETED" = "IN_QUEUE"): void => {
  const requestId = idOf(agoMs);
  jobs.set(requestId, {
    requestId,
    ownerId: "ann",
    endpoint: "a/b",
    version: "1.0.0",
    state,
    attempt: 1,
    submittedAtMs: NOON_MS - agoMs,
    fingerprint: fingerprintOf("a/b", { ...input }),
  } as JobDescription);
};

it("does not read the input of a call that nothing is compared with", async () => {
  const read = vi.fn();
  const app = new Hono().post("/", async (c) => {
    const caller = { ...CALLER, keyId: "never the same" };
    return c.json(await claimRequest(c, { caller, endpoint: "a/b", readInput: read }));
  });
  await app.request("/", { method: "POST" });
  expect(read).not.toHaveBeenCalled();
});

describe("an idempotency key while PostgreSQL is away", () => {
  it("names the request by the id that PostgreSQL would give it", async () => {
    const { claimed, requestId } = await claim({ a: 1 });
    expect(claimed).toMatchObject({ shared: true, fingerprint: fingerprintOf("a/b", { a: 1 }) });
    expect(requestId).toBe(idOf(0));
  });

  it.each(["IN_QUEUE", "COMPLETED"] as const)("finds a job that is %s", async (state) => {
    startedBefore(HOUR_MS, { a: 1 }, state);
    const { claimed } = await claim({ a: 1 });
    expect(claimed).toMatchObject({ existing: { requestId: idOf(HOUR_MS), state } });
  });

  it("finds the job of yesterday within a day, and no older one", async () => {
    startedBefore(23 * HOUR_MS, { a: 1 });
    expect((await claim({ a: 1 })).claimed).toMatchObject({ existing: { requestId: idOf(23 * HOUR_MS) } });
    jobs.clear();
    startedBefore(25 * HOUR_MS, { a: 1 });
    expect((await claim({ a: 1 })).claimed).toMatchObject({ shared: true });
  });

  it("is refused with another input", async () => {
    startedBefore(HOUR_MS, { a: 1 });
    await expect(claim({ a: 2 })).rejects.toMatchObject({ code: "idempotency_key_reused" });
  });

  it("is refused while Temporal is away too", async () => {
    temporalIsAway = true;
    await expect(claim({ a: 1 })).rejects.toMatchObject({ code: "temporal_unavailable" });
  });

  it("is stored under the same id when PostgreSQL is back, once the job has started", async () => {
    const { claimed } = await claim({ a: 1 });
    storeIsAway = false;
    expect(stored).toEqual([]);
    if (claimed && !claimed.existing) claimed.markStarted?.();
    await expect.poll(() => stored).toEqual([{ name: NAME, requestId: idOf(0) }]);
  });

  it("does not cover equal inputs without a key", async () => {
    await expect(claim({ a: 1 }, "")).rejects.toMatchObject({ code: "store_unavailable" });
  });
});

describe("an idempotency key that PostgreSQL has, while the event log is away", () => {
  beforeEach(() => {
    storeIsAway = false;
    stored.push({ name: NAME, requestId: idOf(0) });
  });

  it("finds a job that runs in Temporal", async () => {
    startedBefore(0, { a: 1 });
    expect((await claim({ a: 1 })).claimed).toMatchObject({ existing: { requestId: idOf(0) } });
  });

  it("finds a request that has ended in PostgreSQL, also while Temporal is away", async () => {
    temporalIsAway = true;
    const outcome = { ok: true, output: { inline: {} }, metrics: {} };
    records.set(idOf(0), { requestId: idOf(0), ownerId: "ann", endpoint: "a/b", outcome, logs: [] });
    expect((await claim({ a: 1 })).claimed).toMatchObject({ existing: { state: "COMPLETED" } });
  });

  it("is refused when nobody but Temporal would know the request, and that is away", async () => {
    temporalIsAway = true;
    await expect(claim({ a: 1 })).rejects.toMatchObject({ code: "temporal_unavailable" });
  });
});
