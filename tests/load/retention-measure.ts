/** Measures what the deletion of expired records costs running jobs. */
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, request } from "undici";
import type { Sql } from "../../src/adapters/postgres/connection.ts";
import { insertExpired } from "./expired-records.ts";
import { type Bench, percentile, round, STUB, say } from "./harness.ts";

const RECORDS = 100_000;
const IN_FLIGHT = 4;
/** The length of each period without retention: one before it, one after. */
const QUIET_SECONDS = 15;

/**
 * Measures on a running platform and adds its checks: p95 of a job from call to output, four in flight, while
 * 100,000 expired records are deleted, compared with p95 without a deletion. Returns the figures.
 */
export async function measureRetention(
  { key, scale, quick, atMost, atLeast }: Pick<Bench, "key" | "scale" | "quick" | "atMost" | "atLeast">,
  { url, adminUrl, sql }: { url: string; adminUrl: string; sql: Sql },
): Promise<object> {
  const records = Math.round(RECORDS * scale * (quick ? 0.05 : 1));
  const agent = new Agent({ connections: IN_FLIGHT, pipelining: 1 });
  const headers = { authorization: `Key ${key}`, "content-type": "application/json" };
  const job = async (): Promise<number> => {
    const startedAtMs = performance.now();
    const response = await request(`${url}/${STUB}`, {
      method: "POST",
      headers,
      body: "{}",
      dispatcher: agent,
    });
    const body = await response.body.text();
    if (response.statusCode !== 200) throw new Error(`run: ${response.statusCode} ${body}`);
    return performance.now() - startedAtMs;
  };
  const jobsWhile = async (condition: () => boolean): Promise<number[]> => {
    const tookMs: number[] = [];
    await Promise.all(
      Array.from({ length: IN_FLIGHT }, async () => {
        while (condition()) tookMs.push(await job());
      }),
    );
    return tookMs;
  };
  const quiet = async (): Promise<number[]> => {
    const untilMs = performance.now() + (quick ? 2 : QUIET_SECONDS) * 1000;
    return jobsWhile(() => performance.now() < untilMs);
  };
  const left = async (): Promise<boolean> => {
    const [row] = await sql<
      { left: boolean }[]
    >`SELECT EXISTS (SELECT FROM requests WHERE owner_id = 'expired') AS left`;
    return row?.left ?? false;
  };

  say(`retention: ${records} expired records …`);
  await insertExpired(sql, records);
  let warmups = 100;
  await jobsWhile(() => warmups-- > 0);
  const before = await quiet();
  const startedAtMs = performance.now();
  const started = await fetch(`${adminUrl}/v1/tempera/retention/run`, {
    method: "POST",
    headers,
    body: "{}",
  });
  if (started.status !== 202) throw new Error(`retention run: ${started.status} ${await started.text()}`);
  let deleting = true;
  const [during] = await Promise.all([
    jobsWhile(() => deleting),
    (async () => {
      while (await left()) await sleep(500);
      deleting = false;
    })(),
  ]);
  const seconds = (performance.now() - startedAtMs) / 1000;
  const after = await quiet();
  agent.destroy();

  const without = [...before, ...after];
  const [row] = await sql<
    { items: number }[]
  >`SELECT COALESCE(sum(items), 0)::integer AS items FROM retention_totals WHERE kind = 'request'`;
  atLeast("expired records deleted and counted", row?.items ?? 0, records);
  atMost(
    "p95 of a job while they are deleted / p95 without, 4 in flight",
    percentile(during, 95) / percentile(without, 95),
    1.3,
  );
  const figures = (tookMs: number[]) => ({
    jobs: tookMs.length,
    p50_ms: round(percentile(tookMs, 50)),
    p95_ms: round(percentile(tookMs, 95)),
  });
  return {
    records,
    seconds: round(seconds),
    without: figures(without),
    before: figures(before),
    during: figures(during),
    after: figures(after),
  };
}
