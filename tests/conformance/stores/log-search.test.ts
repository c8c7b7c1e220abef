/**
 * One suite for all searches in log lines: PostgreSQL always; OpenSearch where Java and Maven are installed,
 * or the Elasticsearch or OpenSearch that `TEST_LOG_SEARCH_URL` names.
 */
import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectPostgres, type Sql } from "../../../src/adapters/postgres/connection.ts";
import { createPostgresLogSearch } from "../../../src/adapters/postgres/requests/log-search.ts";
import { createRequestStore } from "../../../src/adapters/postgres/requests/request-store.ts";
import { createOpenSearchLogSearch } from "../../../src/adapters/search/opensearch-log-search.ts";
import type { LogLevel } from "../../../src/core/requests/events.ts";
import type { JobSpec } from "../../../src/core/requests/job.ts";
import type { FoundLine, LineQuery, LogSearch } from "../../../src/core/requests/log-search.ts";
import { newRequestId } from "../../../src/core/requests/request-id.ts";
import type { Service } from "../../../src/dev/services/service.ts";
import { jvmObjection } from "../../setup/jvm.ts";
import { leakCheck } from "../../setup/leak-check.ts";
import { startOpenSearch } from "../../setup/opensearch.ts";
import { testDatabase } from "../../setup/test-database.ts";

leakCheck();

const NOW_MS = Date.UTC(2026, 5, 15, 12);
let searchUrl = process.env.TEST_LOG_SEARCH_URL;
const objection = searchUrl === undefined ? await jvmObjection() : undefined;

let database: Awaited<ReturnType<typeof testDatabase>>;
let sql: Sql;
let folder: string | undefined;
let openSearch: Service | undefined;
beforeAll(async () => {
  database = await testDatabase();
  sql = connectPostgres(database.url, { maxConnections: 3 });
  if (searchUrl !== undefined || objection !== undefined) return;
  folder = await mkdtemp(join(tmpdir(), "tempera-opensearch-"));
  openSearch = await startOpenSearch({ folder, log: (line) => process.stderr.write(`[setup] ${line}\n`) });
  searchUrl = openSearch.url;
});
afterAll(async () => {
  await openSearch?.stop();
  if (folder) await rm(folder, { recursive: true, force: true });
  await sql.end({ timeout: 2 });
  await database[Symbol.asyncDispose]();
});

interface Spoken {
  requestId?: string;
  ownerId?: string;
  endpoint?: string;
  version?: string;
  agoMs?: number;
  lines: [message: string, level?: LogLevel, atMs?: number][];
}

describe.each<[string, boolean, () => LogSearch]>([
  ["PostgreSQL", true, () => createPostgresLogSearch(sql)],
  [
    objection === undefined ? "OpenSearch" : `OpenSearch, left out: ${objection}`,
    objection === undefined,
    () => createOpenSearchLogSearch({ url: searchUrl ?? "", index: `suite-${randomUUID()}` }),
  ],
])("log search on %s", (_, there, open) => {
  let search: LogSearch;
  beforeAll(() => {
    if (there) search = open();
  });

  /** A request that has ended with these lines, in the record and in what searches. */
  const speak = async ({
    requestId = newRequestId(),
    ownerId = "owner",
    endpoint = "a/b",
    version = "1.0.0",
    agoMs = 0,
    lines,
  }: Spoken): Promise<string> => {
    const submittedAtMs = NOW_MS - agoMs;
    const logs = lines.map(([message, level = "INFO", atMs = submittedAtMs + 10], n) => ({
      id: `${atMs}-${n}`,
      atMs,
      event: { type: "log" as const, attempt: 1, level, message },
    }));
    const job = {
      requestId,
      ownerId,
      keyId: "k",
      endpoint,
      version,
      taskQueue: "q",
      priority: "normal",
      input: { inline: {} },
      submittedAtMs,
    } as unknown as JobSpec;
    await createRequestStore(sql).finish({
      job,
      outcome: { ok: true, output: { inline: {} }, metrics: {} },
      attempts: 1,
      endedAtMs: submittedAtMs + 1000,
      logs,
    });
    await search.index({
      requestId,
      ownerId,
      endpoint,
      version,
      submittedAtMs,
      lines: logs.map(({ id, atMs, event: { type: __, ...line } }) => ({ ...line, id, atMs })),
    });
    return requestId;
  };
  /** Searches until the indexed lines are visible. */
  const find = async (query: Partial<LineQuery>, least = 0): Promise<FoundLine[]> => {
    for (;;) {
      const { lines } = await search.search({ startMs: 0, endMs: NOW_MS * 2, limit: 100, ...query });
      if (lines.length >= least) return lines;
    }
  };
  const texts = (lines: FoundLine[]): string[] => lines.map(({ message }) => message);

  it.runIf(there)(
    "finds lines by their words, all of them in one line, whatever their case and order",
    async () => {
      const requestId = await speak({
        lines: [["The quick brown fox"], ["jumps over 42 dogs", "WARN"], ["über größe — naïve 日本"]],
      });
      expect(texts(await find({ requestId }, 3))).toEqual([
        "über größe — naïve 日本",
        "jumps over 42 dogs",
        "The quick brown fox",
      ]);
      expect(texts(await find({ requestId, words: "FOX quick" }, 1))).toEqual(["The quick brown fox"]);
      expect(texts(await find({ requestId, words: "42" }, 1))).toEqual(["jumps over 42 dogs"]);
      expect(texts(await find({ requestId, words: "GRÖSSE" }))).toEqual([]);
      expect(texts(await find({ requestId, words: "größe" }, 1))).toHaveLength(1);
      // In the request, but not in one line.
      expect(await find({ requestId, words: "fox dogs" })).toEqual([]);
      expect(await find({ requestId, words: "fo" })).toEqual([]);
      for (const odd of ["'; DROP TABLE requests; --", "a & | ! ( : * \\", "\u0000", '"', "{}"])
        await find({ requestId, words: odd });
      expect((await find({ requestId, words: "fox" }))[0]).toEqual({
        requestId,
        ownerId: "owner",
        endpoint: "a/b",
        version: "1.0.0",
        attempt: 1,
        level: "INFO",
        message: "The quick brown fox",
        id: `${NOW_MS + 10}-0`,
        atMs: NOW_MS + 10,
      });
    },
  );

  it.runIf(there)("filters by owner, endpoint and paths below it, version, level and time", async () => {
    const word = `w${randomUUID().replaceAll("-", "")}`;
    const spoken: Spoken[] = [
      { ownerId: "o1", endpoint: "x/y", lines: [[`${word} 1`]] },
      { ownerId: "o2", endpoint: "x/y/z", agoMs: 1000, lines: [[`${word} 2`, "ERROR"]] },
      { ownerId: "o2", endpoint: "x/yz", version: "2.0.0", agoMs: 2000, lines: [[`${word} 3`, "DEBUG"]] },
    ];
    for (const each of spoken) await speak(each);
    const found = async (query: Partial<LineQuery>): Promise<string> =>
      texts(await find({ words: word, ...query }))
        .map((text) => text.at(-1))
        .join("");
    await find({ words: word }, 3);
    expect(await found({})).toBe("123");
    expect(await found({ ownerId: "o2" })).toBe("23");
    expect(await found({ app: "x/y" })).toBe("12");
    expect(await found({ version: "2.0.0" })).toBe("3");
    expect(await found({ levels: ["ERROR", "DEBUG"] })).toBe("23");
    expect(await found({ startMs: NOW_MS - 1500 })).toBe("12");
    expect(await found({ endMs: NOW_MS })).toBe("23");
    expect(await found({ ownerId: "o3" })).toBe("");
  });

  it.runIf(there)(
    "pages: each line once, the newest request first, whatever the size of a page",
    async () => {
      const ownerId = randomUUID();
      for (let i = 0; i < 5; i++)
        await speak({
          ownerId,
          agoMs: (i >> 1) * 1000,
          lines: Array.from({ length: 3 }, (_, n) => [`line ${n}`] as [string]),
        });
      const whole = await find({ ownerId }, 15);
      expect(whole).toHaveLength(15);
      for (const limit of [1, 2, 4, 15]) {
        const seen: FoundLine[] = [];
        for (let before: LineQuery["before"]; ; ) {
          const { lines, next } = await search.search({
            startMs: 0,
            endMs: NOW_MS * 2,
            ownerId,
            limit,
            ...(before && { before }),
          });
          seen.push(...lines);
          if (!next) break;
          before = next;
        }
        expect(seen).toEqual(whole);
      }
    },
  );

  it.runIf(there)("indexes lines once, and removes them", async () => {
    const lines: Spoken["lines"] = [["only once"], ["and twice"]];
    const requestId = await speak({ lines });
    await speak({ requestId, lines });
    expect(await find({ requestId }, 2)).toHaveLength(2);
    await sql`UPDATE requests SET logs = '[]', log_words = NULL WHERE request_id = ${requestId}`;
    await search.remove([requestId, newRequestId()]);
    expect(await find({ requestId })).toEqual([]);
    await search.remove([]);
  });

  it.runIf(there)("indexes a request with the largest permitted log", async () => {
    const requestId = await speak({
      lines: Array.from({ length: 1000 }, (_, n) => [`w${n} ${`${randomUUID()} `.repeat(100)}`] as [string]),
    });
    expect(await find({ requestId, limit: 1000 }, 1000)).toHaveLength(1000);
    expect(texts(await find({ requestId, words: "w3" }, 1))).toHaveLength(1);
  });
});

it.skipIf(objection !== undefined)("names an index that takes no writes", async () => {
  const index = `logs-${randomUUID()}`;
  const search = createOpenSearchLogSearch({ url: searchUrl ?? "", index });
  const line = { attempt: 1, level: "INFO" as const, message: "a line", id: "1", atMs: NOW_MS };
  const request = {
    requestId: newRequestId(),
    ownerId: "owner",
    endpoint: "a/b",
    version: "1.0.0",
    submittedAtMs: NOW_MS,
    lines: [line],
  };
  await search.index(request);
  const setBlock = (write: boolean) =>
    fetch(`${searchUrl}/${index}/_settings`, {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ "index.blocks.write": write }),
    });
  expect((await setBlock(true)).status).toBe(200);
  await expect(search.index({ ...request, requestId: newRequestId() })).rejects.toMatchObject({
    code: "store_full",
    message:
      "The log search accepts only reads (cluster_block_exception); " +
      "free space on its disk, or remove the block from its index.",
  });
  await expect(search.remove([request.requestId])).rejects.toMatchObject({ code: "store_full" });
  expect((await setBlock(false)).status).toBe(200);
  await search.index({ ...request, requestId: newRequestId() });
});

it("reports an unavailable search in one line with its remedy and without its password", async () => {
  const search = createOpenSearchLogSearch({ url: "http://user:secret@127.0.0.1:1", index: "logs" });
  const { message, code } = (await search
    .search({ startMs: 0, endMs: 1, limit: 1 })
    .catch((error) => error)) as {
    message: string;
    code: string;
  };
  expect(code).toBe("store_unavailable");
  expect(message).toContain("127.0.0.1:1");
  expect(message).toContain("TEMPERA_LOG_SEARCH_URL");
  expect(message).not.toContain("secret");
});
