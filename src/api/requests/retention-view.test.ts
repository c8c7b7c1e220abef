import { describe, expect, it } from "vitest";
import type { RetentionTimes } from "../../core/operations/retention.ts";
import type { Outcome } from "../../core/requests/request.ts";
import { retentionView } from "./retention-view.ts";

const NOW_MS = 10_000_000;
const FOREVER: RetentionTimes = {
  requestMs: null,
  payloadMs: null,
  logMs: null,
  artifactMs: null,
  uploadMs: null,
};

const kept: Outcome = { ok: true, output: { inline: { a: 1 } }, metrics: {} };
const failed: Outcome = { ok: false, error: { code: "internal_error", message: "no" }, metrics: {} };
const apart: Outcome = { ok: true, output: { ref: "transient/x/output.json" }, metrics: {} };
const gone = { ok: true, output: { ref: "gone" } };

/** Stores that all know one request, which ended `agoMs` ago. */
function stores(agoMs: number | undefined, outcome: Outcome, times: Partial<RetentionTimes>) {
  const about = { requestId: "r", ownerId: "o", ...(agoMs !== undefined && { endedAtMs: NOW_MS - agoMs }) };
  const logs = [{ id: "1-0" }];
  return retentionView(
    {
      events: {
        snapshot: async () => about,
        outcome: async () => ({ snapshot: about, outcome }),
        read: async () => [],
        follow: async function* () {},
      },
      requests: { find: async () => ({ ...about, outcome, logs }) },
      jobs: { describe: async () => about, outcome: async () => outcome },
    } as never,
    {
      times: { of: (ownerId) => ({ ...FOREVER, ...(ownerId === "o" && times) }) },
      clock: { nowMs: () => NOW_MS },
    },
  );
}
const shown = async ({ events, requests, jobs }: ReturnType<typeof stores>) => ({
  snapshot: (await events.snapshot("r")) !== undefined,
  events: (await events.outcome("r"))?.outcome,
  record: (await requests.find("r"))?.outcome,
  logs: (await requests.find("r"))?.logs.length,
  job: (await jobs.describe("r")) !== undefined,
  result: await jobs.outcome("r"),
});

describe("a retention view", () => {
  it("shows everything within its time, and unfinished requests always", async () => {
    const all = { snapshot: true, events: kept, record: kept, logs: 1, job: true, result: kept };
    expect(await shown(stores(999, kept, { requestMs: 1000, payloadMs: 1000, logMs: 1000 }))).toEqual(all);
    expect(await shown(stores(undefined, kept, { requestMs: 1 }))).toEqual(all);
    expect(await shown(stores(NOW_MS, kept, {}))).toEqual(all);
  });

  it("shows nothing in any store once the record's time has passed", async () => {
    expect(await shown(stores(1000, kept, { requestMs: 1000 }))).toEqual({
      snapshot: false,
      events: undefined,
      record: undefined,
      logs: undefined,
      job: false,
      result: undefined,
    });
  });

  it("shows the end without the output once the payload has expired; errors are no payloads", async () => {
    const after = await shown(stores(1000, kept, { payloadMs: 1000, logMs: 1000 }));
    expect(after).toMatchObject({
      snapshot: true,
      events: gone,
      record: gone,
      logs: 0,
      job: true,
      result: gone,
    });
    expect(await shown(stores(1000, failed, { payloadMs: 1000 }))).toMatchObject({
      events: failed,
      record: failed,
      result: failed,
    });
  });

  it("shows an output that was not to be stored for an hour", async () => {
    expect(await shown(stores(3_599_999, apart, {}))).toMatchObject({
      events: apart,
      record: apart,
      result: apart,
    });
    expect(await shown(stores(3_600_000, apart, {}))).toMatchObject({
      snapshot: true,
      events: gone,
      record: gone,
      result: gone,
    });
  });
});
