import { Hono } from "hono";
import { beforeEach, expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import type { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ClaimName } from "../../core/requests/idempotency-store.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import { answerError } from "../http/answer-error.ts";
import { setBodyShare } from "../http/body-share.ts";
import { Turns } from "../limits/turns.ts";
import { createRerun } from "./rerun.ts";

const PREVIOUS = "019a0000-0000-7000-8000-000000000001";
const silent = { debug() {}, info() {}, warn() {}, error() {} };
const previous = {
  requestId: PREVIOUS,
  ownerId: "ann",
  endpoint: "ann/video",
  version: "1",
  taskQueue: "pipelines",
  priority: "normal",
  input: { inline: { prompt: "a" } },
  pipeline: { plan: { inline: { graph: { nodes: [] } } }, callees: { inline: {} }, depth: 0 },
};

let started: JobSpec[];
let off: string[];
let app: Hono;
beforeEach(() => {
  started = [];
  off = [];
  const claims = new Map<string, { requestId: string; fingerprint: string }>();
  const rerun = createRerun({
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    events: {
      snapshot: async (id: string) =>
        id === PREVIOUS
          ? { ...previous, state: "COMPLETED", attempt: 1, queuedAtMs: 0 }
          : started.some(({ requestId }) => requestId === id)
            ? { ...previous, requestId: id, state: "IN_PROGRESS", attempt: 1, queuedAtMs: 0 }
            : undefined,
      append: async () => {},
      position: async () => 0,
      drop: async () => {},
    },
    requests: { find: async () => undefined, insert: async () => {} },
    jobs: {
      start: async (job: JobSpec) => void started.push(job),
      describe: async () => undefined,
      cancel: async () => "unknown",
    },
    claims: {
      claim: async ({ ownerId, key }: ClaimName, wanted: { fingerprint: string; requestId?: string }) => {
        const name = `${ownerId} ${key}`;
        const existing = claims.get(name);
        if (existing) return { isOwn: false, ...existing, ageMs: 0 };
        const claim = {
          requestId: wanted.requestId ?? "019a0000-0000-7000-8000-00000000000c",
          fingerprint: wanted.fingerprint,
        };
        claims.set(name, claim);
        return { isOwn: true, ...claim, ageMs: 0 };
      },
      release: async ({ ownerId, key }: ClaimName) => void claims.delete(`${ownerId} ${key}`),
      share: async () => true,
    },
    limits: {
      countCall: async () => {},
      reserveQueued: async () => undefined,
      reserveSpend: async () => undefined,
      checkStorage: async () => {},
      of: async () => ({ owner: {}, key: {} }),
    },
    pipelineRuns: { find: async () => ({ job: previous }), nodes: async () => [] },
    registry: { pipelines: () => [] },
    findPipeline: async () => undefined,
    flags: { isOn: (kind: string, name: string) => !off.includes(`${kind} ${name}`) },
    storageDefaults: { of: () => ({}) },
    objects: { put: async () => {} },
    budgets: wideBudgets(),
    files: {},
    clock: { nowMs: () => 1_000 },
    log: silent,
    bodyBytesMax: 10_000,
    webhookOf: (url?: string) => url && { url },
  } as never);
  app = new Hono();
  app.post("/again", (c) => {
    setBodyShare(c, { hold: wideBudgets().bodies.acquire("ann", 0), turns: new Turns(), sender: "ann" });
    return rerun(c, { endpoint: "ann/video", requestId: PREVIOUS } as never);
  });
  app.onError((error, c) => answerError(c, error as TemperaError, { log: silent }));
});
const again = (body: object = {}, headers: Record<string, string> = {}, query = "") =>
  app.request(`http://localhost/again${query}`, { method: "POST", body: JSON.stringify(body), headers });

it("starts a rerun with an idempotency key once, and answers later calls with it", async () => {
  const headers = { "idempotency-key": "once" };
  const first = await again({ from: undefined }, headers);
  expect(first.status).toBe(200);
  const second = await again({}, headers);
  expect(second.headers.get("idempotent-replayed")).toBe("true");
  expect(await second.json()).toMatchObject({
    request_id: ((await first.json()) as { request_id: string }).request_id,
  });
  expect(started).toHaveLength(1);
  const other = await again({ overrides: { input: { prompt: "b" } } }, headers);
  expect(other.status).toBe(422);
  expect(JSON.stringify(await other.json())).toContain(started[0]?.requestId);
});

it("leaves the idempotency key of a refused rerun free", async () => {
  const headers = { "idempotency-key": "once" };
  expect((await again({ overrides: { input: { nothing: 1 } } }, headers)).status).toBe(422);
  expect((await again({ overrides: { input: { prompt: "b" } } }, headers)).status).toBe(200);
  expect(started).toHaveLength(1);
});

it("stores neither input nor output when the caller says so, as a submit does", async () => {
  expect((await again({}, { "x-fal-store-io": "0" })).status).toBe(200);
  expect(started).toMatchObject([
    { storeIo: false, input: { ref: expect.stringContaining(started[0]?.requestId as string) } },
  ]);
});

it.each([
  ["workflow ann/video", ""],
  ["behaviour webhooks", "?fal_webhook=http://receiver"],
])("refuses a rerun that the flag of a %s forbids", async (flag, query) => {
  off = [flag];
  const answer = await again({}, {}, query);
  expect(answer.status).toBe(403);
  expect(await answer.json()).toMatchObject({
    detail: expect.stringContaining("is switched off on this server"),
  });
  expect(started).toEqual([]);
});
