/** The usage ledger, the log search and retention, on a whole platform. */
import { readdir, utimes } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { leakCheck } from "../setup/leak-check.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";

leakCheck();

const STUB = "tempera/stub";

let platform: TestPlatform;
beforeAll(async () => {
  platform = await startTestPlatform({ TEMPERA_WORKER_MODELS: STUB });
});
afterAll(() => platform[Symbol.asyncDispose]());

const admin = async <T>(method: string, path: string, body?: unknown): Promise<T> =>
  platform.client.admin<T>(method, path, body);
const submit = async (input: object, headers: Record<string, string> = {}): Promise<string> =>
  (await platform.client.submit(STUB, input, headers)).request_id;
const ended = async (id: string): Promise<string> => {
  for await (const _ of platform.client.follow(STUB, id));
  await platform.record(id);
  return id;
};
const result = (id: string) => platform.call(`/queue/${STUB}/requests/${id}`);

/** All payloads of a job's history, as text. */
const historyOf = async (id: string): Promise<string> => {
  const { events } = await platform.temporal.workflow.getHandle(id).fetchHistory();
  const texts: string[] = [];
  const walk = (value: unknown): void => {
    if (value instanceof Uint8Array) texts.push(Buffer.from(value).toString());
    else if (typeof value === "object" && value !== null) for (const each of Object.values(value)) walk(each);
  };
  walk(events);
  return texts.join("\n");
};
const OUTPUT = expect.stringMatching(/^output-[0-9a-f]{16}\.json$/);
const objectsBelow = async (folder: string): Promise<string[]> =>
  (await readdir(join(platform.folder, "objects", folder))).filter((name) => !name.includes("@"));

interface Event {
  request_id: string;
  output_units: number;
  unit_price: number;
  attempts: number;
  attempts_uncounted: number;
}
const billed = async (id: string): Promise<Event[]> =>
  (await admin<{ billing_events: Event[] }>("GET", `/v1/models/billing-events?request_id=${id}`))
    .billing_events;

describe("the ledger", () => {
  it("has one entry for each outcome, whatever the attempts, with the units of the result", async () => {
    const good = await ended(await submit({ prompt: "x" }));
    const retried = await ended(await submit({ fail: "crash", fail_attempts: 1 }));
    const bad = await ended(await submit({ fail: "error" }));
    expect(await billed(good)).toMatchObject([
      { request_id: good, output_units: 1, attempts: 1, attempts_uncounted: 0 },
    ]);
    expect(await billed(retried)).toMatchObject([{ output_units: 1, attempts: 2, attempts_uncounted: 1 }]);
    expect(await billed(bad)).toMatchObject([{ output_units: 0 }]);
    expect((await result(good)).headers.get("x-fal-billable-units")).toBe("1");
    expect((await result(bad)).headers.get("x-fal-billable-units")).toBe("0");
    const direct = await platform.call(`/${STUB}`, { method: "POST", body: "{}" });
    expect(direct.headers.get("x-fal-billable-units")).toBe("1");
  });

  it("adds up by time and by owner", async () => {
    await ended(await submit({}));
    const { time_series, summary } = await admin<{
      time_series: { results: { endpoint_id: string; quantity: number }[] }[];
      summary: { endpoint_id: string; quantity: number }[];
    }>("GET", "/v1/models/usage?timeframe=hour&expand=time_series&expand=summary");
    const series = time_series
      .flatMap(({ results }) => results)
      .reduce((sum, { quantity }) => sum + quantity, 0);
    expect(summary).toEqual([expect.objectContaining({ endpoint_id: STUB, quantity: series })]);
    const { totals } = await admin<{ totals: { owner: string; quantity: number }[] }>(
      "GET",
      "/v1/tempera/usage",
    );
    expect(totals.map(({ quantity }) => quantity).reduce((a, b) => a + b, 0)).toBe(series);
    await expect(admin("GET", "/v1/models/usage?timezone=Nowhere/Land")).rejects.toThrow("time zone");
    await expect(admin("GET", "/v1/models/usage?start=2026-02-01&end=2026-01-01")).rejects.toThrow(
      "before start",
    );
  });

  it("gets a missing entry by the comparison with Temporal", async () => {
    const id = await ended(await submit({ prompt: "lost" }));
    const { attempts: _, ...before } = (await billed(id))[0] as Event;
    await platform.sql`DELETE FROM usage WHERE request_id = ${id}`;
    await platform.sql`DELETE FROM requests WHERE request_id = ${id}`;
    expect(await billed(id)).toEqual([]);
    const window = { windowMs: 3_600_000, lagMs: -60_000 };
    const check = await platform.run<{ workflows: number; written: number; differences: unknown[] }>(
      "usageReconciliation",
      [window],
    );
    expect(check.written).toBe(1);
    expect(check.workflows).toBeGreaterThan(3);
    expect(check.differences).toEqual([]);
    expect(await billed(id)).toMatchObject([{ ...before, timestamp: expect.any(String) }]);
    expect(await platform.record(id)).toMatchObject({ requestId: id, outcome: { ok: true } });
    const again = await platform.run<{ written: number }>("usageReconciliation", [window]);
    expect(again.written).toBe(0);
    // A difference is reported and left to people.
    await platform.sql`UPDATE usage SET ok = false WHERE request_id = ${id}`;
    const differing = await platform.run<{ differences: { requestId: string }[] }>("usageReconciliation", [
      window,
    ]);
    expect(differing.differences).toEqual([
      { requestId: id, description: expect.stringContaining("the ledger has an error") },
    ]);
    await platform.sql`UPDATE usage SET ok = true WHERE request_id = ${id}`;
  });
});

interface Line {
  timestamp: string;
  level: string;
  message: string;
  app: string;
  labels: { request_id: string };
}

describe("log lines", () => {
  const history = (query: string, method = "POST", body?: unknown) =>
    admin<{ items: Line[]; next_cursor: string | null }>(
      method,
      `/v1/serverless/logs/history?${query}`,
      body,
    );

  it("are found by request, words, level and app, page by page", async () => {
    const first = await ended(await submit({ "quick brown fox": 1, fail: "crash", fail_attempts: 1 }));
    const second = await ended(await submit({ "a quick look": 1 }));
    const ofFirst = await history(`request_id=${first}`);
    expect(ofFirst.items.map(({ message }) => message)).toEqual([
      expect.stringContaining("Attempt 1 failed"),
      'Ignored a field this model does not know: "quick brown fox"',
    ]);
    expect(new Set(ofFirst.items.map(({ labels }) => labels.request_id))).toEqual(new Set([first]));
    expect((await history("search=FOX%20quick")).items.map(({ message }) => message)).toEqual([
      ofFirst.items[1]?.message,
    ]);
    expect(
      (await history("search=quick&level=warn", "GET")).items.map(({ labels }) => labels.request_id),
    ).toEqual([second, first]);
    expect((await history("search=quick&level=error")).items).toEqual([]);
    expect((await history("search=quick&app_id=tempera")).items).toHaveLength(2);
    expect((await history("search=quick&app_id=temp")).items).toEqual([]);
    expect((await history("search=quick&revision=9.9.9")).items).toEqual([]);
    expect(
      (
        await history("search=quick", "POST", [
          { key: "request_id", value: second, condition_type: "equals" },
        ])
      ).items,
    ).toHaveLength(1);
    expect((await history("end=2020-01-01")).items).toEqual([]);
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: { items: Line[]; next_cursor: string | null } = await history(
        `limit=1${cursor && `&cursor=${cursor}`}`,
      );
      seen.push(...page.items.map(({ timestamp, labels }) => `${labels.request_id} ${timestamp}`));
      cursor = page.next_cursor;
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.length).toBe((await history("limit=1000")).items.length);
    await expect(history("level=loud")).rejects.toThrow("level");
    await expect(history("limit=1001")).rejects.toThrow("limit");
    await expect(history("cursor=abc")).rejects.toThrow("cursor");
    await expect(history("", "POST", [{ key: "colour", value: "x" }])).rejects.toThrow();
  });

  it("are hidden from another owner", async () => {
    const id = await ended(await submit({ "secret words": 1 }));
    const { key } = await admin<{ key: string }>("POST", "/v1/keys", { alias: "other" });
    const answer = await fetch(`${platform.platform.adminUrl}/v1/serverless/logs/history?request_id=${id}`, {
      headers: { authorization: `Key ${key}` },
    });
    expect(answer.status).toBe(200);
    expect(((await answer.json()) as { items: unknown[] }).items).toEqual([]);
  });

  it("are streamed while they are written, until the end of their request", async () => {
    const id = await submit({ delay_ms: 3_000, "said early": 1 });
    const stream = await fetch(`${platform.platform.adminUrl}/v1/serverless/logs/stream?request_id=${id}`, {
      method: "POST",
      headers: { authorization: `Key ${platform.platform.key}` },
    });
    expect(stream.headers.get("content-type")).toBe("text/event-stream");
    let text = "";
    let early = false;
    for await (const chunk of stream.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString();
      if (text.includes("said early") && !early)
        early = (await platform.client.status(STUB, id)).status !== "COMPLETED";
    }
    expect(early).toBe(true);
    const lines = text
      .split("\n")
      .flatMap((line) => (line.startsWith("data: ") ? [JSON.parse(line.slice(6)) as Line] : []));
    expect(lines.map(({ message }) => message)).toEqual([
      'Ignored a field this model does not know: "said early"',
    ]);
    expect(new Set(lines.map(({ timestamp }) => timestamp)).size).toBe(lines.length);
  });
});

describe("X-Fal-Store-IO: 0", () => {
  it("stores no input and no output; the result can be read for an hour", async () => {
    const secret = "a-very-private-prompt";
    const id = await ended(await submit({ prompt: secret }, { "x-fal-store-io": "0" }));
    const answer = await result(id);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toContain(secret);
    const [row] = await platform.sql<
      { job: string; outcome: string }[]
    >`SELECT job::text, outcome::text FROM requests WHERE request_id = ${id}`;
    expect(`${row?.job}${row?.outcome}`).not.toContain(secret);
    const history = await historyOf(id);
    expect(history).toContain(`transient/${id}/input-`);
    expect(history).not.toContain(secret);
    // In the object store, the input was deleted with the job; the output waits for its reader.
    await expect.poll(() => objectsBelow(`transient/${id}`)).toEqual([OUTPUT]);
    const [output = ""] = await objectsBelow(`transient/${id}`);
    const before = new Date(Date.now() - 2 * 3_600_000);
    await utimes(join(platform.folder, "objects/transient", id, output), before, before);
    const deleted = await platform.run<Record<string, number>>("retention", [
      { sweep: "expired", kind: 0, deleted: {} },
    ]);
    expect(deleted["transient payload"]).toBe(1);
    const after = await result(id);
    expect(after.status).toBe(404);
    expect(await after.json()).toEqual({ detail: "The output of this request is no longer stored." });
    expect((await platform.client.status(STUB, id)).status).toBe("COMPLETED");
  });
});

describe("X-Fal-Store-IO: 0 of a pipeline", () => {
  it("stores no input and no output of its nodes either, inner pipelines included", async () => {
    const secret = "another-private-prompt";
    const inner = { stages: [[{ prompt: secret }]] };
    const input = { stages: [[{ prompt: secret }], [inner]] };
    const headers = { "x-fal-store-io": "0" };
    const { request_id: id } = await platform.client.submit("tempera/stub-pipeline", input, headers);
    for await (const _ of platform.client.follow("tempera/stub-pipeline", id));
    await platform.record(id);
    const answer = await platform.call(`/queue/tempera/stub-pipeline/requests/${id}`);
    expect([answer.status, await answer.text()]).toEqual([200, expect.stringContaining(secret)]);
    const rows = await platform.sql<{ request_id: string; everything: string }[]>`
      WITH RECURSIVE family AS (
        SELECT * FROM requests WHERE request_id = ${id}
        UNION ALL SELECT r.* FROM requests r JOIN family f ON r.parent_id = f.request_id
      ) SELECT request_id, job::text || outcome::text AS everything FROM family`;
    expect(rows).toHaveLength(4);
    for (const { everything } of rows) expect(everything).not.toContain(secret);
    // Their inputs were deleted with the jobs; the outputs wait for their reader.
    for (const { request_id } of rows)
      await expect.poll(() => objectsBelow(`transient/${request_id}`)).toEqual([OUTPUT]);
  });
});

describe("retention", () => {
  it("hides what an owner's time has passed for at once, and deletes it then", async () => {
    const { key, owner } = await admin<{ key: string; owner: string }>("POST", "/v1/keys", {
      alias: "short",
      owner: "short-lived",
    });
    const call = (path: string, init: RequestInit = {}) =>
      fetch(`${platform.platform.url}${path}`, {
        ...init,
        headers: { authorization: `Key ${key}`, "content-type": "application/json" },
      });
    const submitted = (await (
      await call(`/queue/${STUB}`, { method: "POST", body: '{"prompt":"gone soon"}' })
    ).json()) as {
      request_id: string;
    };
    const id = submitted.request_id;
    const until = async (path: string, status: number): Promise<void> => {
      while ((await call(path)).status !== status) await new Promise((next) => setTimeout(next, 50));
    };
    await until(`/queue/${STUB}/requests/${id}`, 200);
    await platform.record(id);
    await admin("PUT", `/v1/tempera/retention/owners/${owner}`, { payload_seconds: 1 });
    await until(`/queue/${STUB}/requests/${id}`, 404);
    expect((await call(`/queue/${STUB}/requests/${id}/status`)).status).toBe(200);
    const deleted = await platform.run<Record<string, number>>("retention", [
      { sweep: "expired", kind: 0, deleted: {} },
    ]);
    expect(deleted).toEqual({ payload: 1 });
    expect(JSON.stringify(await platform.sql`SELECT * FROM requests WHERE request_id = ${id}`)).not.toContain(
      "gone soon",
    );
    // Temporal and the event log lose it too, Temporal after a while.
    while (await historyOf(id).catch(() => undefined)) await new Promise((next) => setTimeout(next, 100));
    await admin("PUT", `/v1/tempera/retention/owners/${owner}`, { request_seconds: 1 });
    await until(`/queue/${STUB}/requests/${id}/status`, 404);
    expect(await platform.run("retention", [{ sweep: "expired", kind: 0, deleted: {} }])).toEqual({
      request: 1,
    });
    expect(await platform.sql`SELECT FROM requests WHERE request_id = ${id}`).toHaveLength(0);
    expect(await billed(id)).toHaveLength(1);
    const { deleted: totals, sweeps } = await admin<{
      deleted: { kind: string; items: number }[];
      sweeps: { sweep: string }[];
    }>("GET", "/v1/tempera/retention");
    expect(totals).toEqual(expect.arrayContaining([expect.objectContaining({ kind: "request", items: 1 })]));
    expect(sweeps.map(({ sweep }) => sweep)).toEqual(["expired", "orphans"]);
    await expect(
      admin("PUT", `/v1/tempera/retention/owners/${owner}`, { payload_second: 1 }),
    ).rejects.toThrow();
    await expect(
      admin("PUT", `/v1/tempera/retention/owners/${owner}`, { payload_seconds: -1 }),
    ).rejects.toThrow();
    await admin("PUT", `/v1/tempera/retention/owners/${owner}`, {});
  });
});
