import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createRequestSearch } from "../../../src/adapters/postgres/requests/request-search.ts";
import { createRequestStore } from "../../../src/adapters/postgres/requests/request-store.ts";
import { TOMBSTONE } from "../../../src/core/files/transient.ts";
import type { JobSpec } from "../../../src/core/requests/job.ts";
import type { Outcome } from "../../../src/core/requests/request.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import type { EndedQuery, RequestSearch } from "../../../src/core/requests/request-search.ts";
import type { RequestStore } from "../../../src/core/requests/request-store.ts";
import { fillRequests } from "../../load/bench-requests.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { testDatabase } from "../../setup/test-database.ts";
import { jobSpec } from "./job-spec.ts";

leakCheck();

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let requests: RequestStore;
let search: RequestSearch;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 2 });
  requests = createRequestStore(sql);
  search = createRequestSearch(sql);
});
afterAll(async () => {
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

const T = 1_700_000_000_000;
const OK: Outcome = { ok: true, output: { inline: { text: "an escaped NUL: \u0000" } }, metrics: {} };

const job = (over: Partial<JobSpec> = {}): JobSpec =>
  jobSpec({
    endpoint: "search/a",
    taskQueue: "gpu/search/a/1.0.0",
    input: { inline: { prompt: "NUL \u0000" } },
    submittedAtMs: T,
    retry: { attemptsMax: 1, initialMs: 1, backoff: 1, maximumMs: 1 },
    timeouts: { heartbeatMs: 1, runMs: 1 },
    ...over,
  });

async function ended(
  over: Partial<JobSpec>,
  endedAtMs: number,
  { seconds = 1, outcome = OK }: { seconds?: number; outcome?: Outcome } = {},
): Promise<string> {
  const spec = job(over);
  await requests.finish({
    job: spec,
    outcome,
    attempts: 1,
    startedAtMs: endedAtMs - seconds * 1000,
    endedAtMs,
    logs: [],
  });
  return spec.requestId;
}

const query = (over: Partial<EndedQuery>): EndedQuery => ({
  endpoints: ["search/a"],
  startMs: 0,
  endMs: T * 2,
  sortBy: "ended_at",
  limit: 100,
  ...over,
});
const ids = async (over: Partial<EndedQuery>): Promise<string[]> =>
  (await search.ended(query(over))).map(({ requestId }) => requestId);

async function pages(over: Partial<EndedQuery>, limit: number): Promise<string[]> {
  const seen: string[] = [];
  let after: EndedQuery["after"];
  for (;;) {
    const page = await search.ended(query({ ...over, limit, ...(after && { after }) }));
    seen.push(...page.map(({ requestId }) => requestId));
    const last = page.at(-1);
    if (!last) return seen;
    after = { value: over.sortBy === "duration" ? last.seconds : last.endedAtMs, requestId: last.requestId };
  }
}

describe("the list of requests", () => {
  it("sorts by newest end or longest, and pages each once, also of the same moment", async () => {
    const endpoints = ["pages/a", "pages/b"];
    const made: { id: string; at: number; seconds: number }[] = [];
    for (let n = 0; n < 23; n++) {
      const at = T + Math.floor(n / 4);
      const seconds = [0.1, 0.2, 0.001, 7][n % 4] as number;
      made.push({ id: await ended({ endpoint: endpoints[n % 2] as string }, at, { seconds }), at, seconds });
    }
    const down = (a: string, b: string): number => (a < b ? 1 : -1);
    const newest = [...made].sort((a, b) => b.at - a.at || down(a.id, b.id)).map(({ id }) => id);
    const longest = [...made].sort((a, b) => b.seconds - a.seconds || down(a.id, b.id)).map(({ id }) => id);
    expect(await pages({ endpoints }, 3)).toEqual(newest);
    expect(await pages({ endpoints, sortBy: "duration" }, 3)).toEqual(longest);
  });

  it("filters by endpoint, owner, time and status, and lists no unfinished request", async () => {
    const failure = (code: "input_invalid" | "runner_disconnected"): Outcome => ({
      ok: false,
      error: { code, message: "" },
      metrics: {},
    });
    const mine = await ended({}, T + 10);
    const theirs = await ended({ ownerId: "another" }, T + 20);
    const invalid = await ended({}, T + 30, { outcome: failure("input_invalid") });
    const broken = await ended({}, T + 40, { outcome: failure("runner_disconnected") });
    await requests.insert(job());
    expect(await ids({})).toEqual([broken, invalid, theirs, mine]);
    expect(await ids({ ownerId: "another" })).toEqual([theirs]);
    expect(await ids({ startMs: T + 20, endMs: T + 40 })).toEqual([invalid, theirs]);
    expect(await ids({ status: "success" })).toEqual([theirs, mine]);
    expect(await ids({ status: "user_error" })).toEqual([invalid]);
    expect(await ids({ status: "error" })).toEqual([broken]);
    expect((await search.find(broken))?.statusCode).toBe(503);
    expect(await search.find("nonsense")).toBeUndefined();
  });

  it("returns complete payloads, and none after they are erased", async () => {
    const id = await ended({ endpoint: "erase/a" }, T);
    expect((await search.payloads([id])).get(id)).toMatchObject({
      job: { input: { inline: { prompt: "NUL \u0000" } } },
      outcome: OK,
    });
    expect(await search.erasePayloads(id)).toBe(true);
    const bare = (await search.payloads([id])).get(id);
    expect(bare).toMatchObject({
      job: { input: TOMBSTONE },
      outcome: { ok: true, output: TOMBSTONE },
    });
    expect(JSON.stringify(bare)).not.toContain("NUL");
    const waits = job({ endpoint: "erase/a" });
    await requests.insert(waits);
    expect(await search.erasePayloads(waits.requestId)).toBe(false);
  });

  it("finds the artifacts that another request names", async () => {
    const [shared, own, input] = ["a", "b", "c"].map((letter) => letter.repeat(64)) as [
      string,
      string,
      string,
    ];
    const at = (sha: string): string => `http://localhost:8080/files/${sha.slice(0, 2)}/${sha}.png`;
    const output = (...shas: string[]): Outcome => ({
      ok: true,
      output: { inline: { images: shas.map((sha) => ({ url: at(sha) })) } },
      metrics: {},
    });
    const first = await ended({ endpoint: "art/a" }, T, { outcome: output(shared, own, input) });
    await ended({ endpoint: "art/b", ownerId: "another" }, T, { outcome: output(shared) });
    await requests.insert(job({ endpoint: "art/c", input: { inline: { image_url: at(input) } } }));
    expect(await search.namedElsewhere([shared, own, input], [first])).toEqual(new Set([shared, input]));
  });

  it("reads any page from an index, for any number of requests", async () => {
    await fillRequests(sql, 20_000);
    // A page reads only the rows that it shows. For an owner with few requests it may read
    // all of those.
    const ofOwner = 400;
    const plans: string[] = [];
    for (const over of [
      {},
      { ownerId: "owner-1" },
      { status: "user_error" as const, endpoints: ["bench/model-0"] },
      { sortBy: "duration" as const },
      { after: { value: Date.now() - 600_000, requestId: newRequestId() } },
    ]) {
      let read: { query: string; values: unknown[] } | undefined;
      const spying = connectPostgres(database.url, { maxConnections: 1 });
      spying.options.debug = (_connection: number, text: string, values: unknown[]) => {
        if (text.includes("CROSS JOIN LATERAL")) read = { query: text, values };
      };
      await createRequestSearch(spying).ended(query({ endpoints: ["bench/model-1"], limit: 51, ...over }));
      await spying.end();
      if (!read) throw new Error("the query was not seen");
      const rows = await sql.unsafe(
        `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ${read.query}`,
        read.values as never[],
      );
      plans.push(rows.map((row) => row["QUERY PLAN"]).join("\n"));
    }
    for (const plan of plans) {
      expect(plan).not.toMatch(/Seq Scan on requests/);
      expect(plan).toMatch(/Index (Only )?Scan.* (using|on) requests_(ended|ended_by_owner|failed|longest)/);
      for (const [, rows = ""] of plan.matchAll(/actual rows=([\d.]+)/g))
        expect(Number(rows), plan).toBeLessThanOrEqual(ofOwner);
    }
  });
});
