import { Hono } from "hono";
import { beforeEach, expect, it } from "vitest";
import { wideBudgets } from "../../../tests/setup/wide-budgets.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { answerError } from "../http/answer-error.ts";
import { modelRoutes } from "./routes.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };

let app: Hono;
/** The workflows that were looked up, and those look-ups that are under way. */
let lookups: string[];
let underWay: (() => void)[];
let isHeld: boolean;
let isAway: boolean;

beforeEach(() => {
  [lookups, underWay, isHeld, isAway] = [[], [], false, false];
  app = new Hono();
  modelRoutes(app, {
    registry: { route: () => undefined, hasApp: () => false, list: () => [], pipelines: () => [] },
    findPipeline: async (endpoint: string) => {
      lookups.push(endpoint);
      if (isHeld) await new Promise<void>((end) => void underWay.push(end));
      if (isAway) throw new TemperaError("store_unavailable");
    },
    flags: { isOn: () => true },
    keyRing: { authenticate: async () => ({ ownerId: "ann", keyId: "k", scope: "API" }) },
    budgets: wideBudgets(),
    log,
  } as never);
  app.onError((error, c) => answerError(c, error, { log }));
});

const ask = async (workflow: string, address = "192.0.2.1", headers: Record<string, string> = {}) =>
  (
    await app.request(
      `/api/openapi/queue/openapi.json?endpoint_id=workflows/ann/${workflow}`,
      { headers },
      { incoming: { socket: { remoteAddress: address } } },
    )
  ).status;

const settled = () => new Promise((resolve) => setImmediate(resolve));

it("looks an unknown workflow up once for callers without a key, each time for those with one", async () => {
  expect([await ask("a"), await ask("a"), await ask("a", "192.0.2.2")]).toEqual([404, 404, 404]);
  expect(lookups).toHaveLength(1);
  expect(await ask("a", "192.0.2.1", { authorization: "Key k:s" })).toBe(404);
  expect(lookups).toHaveLength(2);
});

it("refuses an address that asks for many unknown workflows, also at once; others are served", async () => {
  const requests = Array.from({ length: LIMITS.unknownWorkflowsMax + 40 }, (_, n) => ask(`w${n}`));
  const refused = (await Promise.all(requests)).filter((status) => status === 429);
  // Those that were under way when the last of them was counted.
  expect(lookups.length).toBeLessThan(LIMITS.unknownWorkflowsMax + LIMITS.keylessLookupsMax);
  expect(refused).toHaveLength(requests.length - lookups.length);
  expect(await ask("other", "192.0.2.2")).toBe(404);
  expect(await ask("mine", "192.0.2.1", { authorization: "Key k:s" })).toBe(404);
});

it("looks up a few at a time, and lets addresses take turns", async () => {
  isHeld = true;
  const requests = Array.from({ length: 20 }, (_, n) => ask(`w${n}`));
  const other = ask("other", "192.0.2.2");
  await settled();
  expect(lookups).toHaveLength(LIMITS.keylessLookupsMax);
  underWay.shift()?.();
  await settled();
  underWay.shift()?.();
  await settled();
  expect(lookups).toContain("workflows/ann/other");
  isHeld = false;
  for (const end of underWay) end();
  await Promise.all([...requests, other]);
});

it("takes no outage for a workflow that does not exist", async () => {
  isAway = true;
  expect(await ask("a")).toBe(503);
  isAway = false;
  expect(await ask("a")).toBe(404);
  expect(lookups).toHaveLength(2);
});
