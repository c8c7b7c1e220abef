/**
 * `npm run bench:limits`: what the door costs, and how soon a change at it is seen. One gateway with keys, limits and idempotency keys
 * beside one with none of it, in turns on one server; ratios of one run count, absolute times say little.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, Connection } from "@temporalio/client";
import { Agent, request } from "undici";
import { connectPostgres, type Sql } from "../../src/adapters/postgres/connection.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { percentile, round, runBench, STUB, say } from "./harness.ts";
import { type Job, newSide, runRound, type Side, summary } from "./rounds.ts";

const IN_FLIGHT = [1, 4] as const;

/** Everything that a plan can limit, none of it reached. */
const ALL_LIMITS = { requests_per_second: 50_000, burst: 50_000, in_progress: 10_000, queued: 1_000_000, weight: 2 };

/** Tables that say who may do what and what can be called. A warm submit reads none of them. */
const DOOR_TABLES = ["keys", "plans", "owners", "key_allowances", "flags", "model_versions", "rollouts"];

/** How long a database connection may keep what it has counted to itself. */
const STATS_MS = 11_000;

/** How soon a change must be seen by another gateway. */
const REVOCATION_MS = 2_000;
const CHANGE_MS = 5_000;

interface Door {
  url: string;
  headers: Record<string, string>;
  /** Each submit has an idempotency key of its own. */
  keyed: boolean;
}

/** One no-op job, submitted and waited for. */
const submitTo =
  ({ url, headers, keyed }: Door, agent: Agent, client: Client): Job =>
  async () => {
    const startedAtMs = performance.now();
    const answer = await request(`${url}/queue/${STUB}`, {
      method: "POST",
      headers: { ...headers, "content-type": "application/json", ...(keyed && { "idempotency-key": randomUUID() }) },
      body: "{}",
      dispatcher: agent,
    });
    const body = (await answer.body.json()) as { request_id: string };
    const submitMs = performance.now() - startedAtMs;
    if (answer.statusCode !== 200) throw new Error(`submit: ${answer.statusCode} ${JSON.stringify(body)}`);
    const startMs = Number(/temporal;dur=([\d.]+)/.exec(String(answer.headers["server-timing"]))?.[1]);
    await client.workflow.getHandle(body.request_id).result();
    return { submitMs, gatewayMs: submitMs - startMs, wholeMs: performance.now() - startedAtMs };
  };

/** Times that each of the tables was read, as the database counts it. */
async function readsOf(sql: Sql): Promise<Map<string, number>> {
  await sleep(STATS_MS);
  const rows = await sql<{ name: string; reads: number }[]>`
    SELECT relname AS name, (COALESCE(seq_scan, 0) + COALESCE(idx_scan, 0))::int AS reads FROM pg_stat_user_tables`;
  return new Map(rows.map(({ name, reads }) => [name, reads]));
}
const more = (before: Map<string, number>, after: Map<string, number>): Record<string, number> =>
  Object.fromEntries(DOOR_TABLES.filter((name) => after.has(name)).map((name) => [name, (after.get(name) ?? 0) - (before.get(name) ?? 0)]));

await runBench("bench:limits", "the door of the gateway: keys, limits, idempotency", async (bench) => {
  const { closing, key, processes, start, atMost, rounds, scale, quick } = bench;
  const { url, adminUrl, temporal, databaseUrl, env } = await bench.startPlatform();
  const connection = await Connection.connect({ address: temporal.url });
  closing.defer(() => connection.close());
  const client = new Client({ connection, namespace: temporal.namespace });
  const agent = new Agent({ connections: 64, pipelining: 1 });
  closing.defer(() => agent.close());
  const sql = connectPostgres(databaseUrl, { maxConnections: 1 });
  closing.defer(() => sql.end());
  const admin = async <T>(method: "POST" | "PATCH" | "DELETE" | "PUT", path: string, body?: object): Promise<T> => {
    const answer = await request(`${adminUrl}${path}`, {
      method,
      headers: { authorization: `Key ${key}`, "content-type": "application/json" },
      ...(body && { body: JSON.stringify(body) }),
      dispatcher: agent,
    });
    const text = await answer.body.text();
    if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  };
  const newKey = (owner: string) => admin<{ key: string; key_id: string }>("POST", "/v1/keys", { alias: owner, owner });

  const openPort = await freePort();
  await start("tests/load/open-gateway.ts", { ...env, TEMPERA_PORT: String(openPort) }, "is ready");
  await admin("PATCH", "/v1/tempera/plans/everything", ALL_LIMITS);
  await admin("PATCH", "/v1/tempera/owners/guarded", { plan: "everything" });
  const guarded: Door = { url, headers: { authorization: `Key ${(await newKey("guarded")).key}` }, keyed: true };
  const open: Door = { url: `http://127.0.0.1:${openPort}`, headers: {}, keyed: false };
  const doors = { open: submitTo(open, agent, client), guarded: submitTo(guarded, agent, client) };

  say("warming up …");
  for (const job of [doors.open, doors.guarded, doors.open, doors.guarded])
    await runRound(undefined, job, { inFlight: 4, jobs: quick ? 50 : 300, processes });

  const submits: Record<string, Record<keyof typeof doors, ReturnType<typeof summary>>> = {};
  for (const inFlight of IN_FLIGHT) {
    const sides: Record<keyof typeof doors, Side> = { open: newSide(), guarded: newSide() };
    const jobs = Math.round(80 * inFlight * scale);
    for (let i = 0; i < rounds; i++) {
      const order = ["open", "guarded"] as const;
      for (const name of i % 2 === 0 ? order : [...order].reverse())
        await runRound(sides[name], doors[name], { inFlight, jobs, processes });
    }
    submits[inFlight] = { open: summary(sides.open), guarded: summary(sides.guarded) };
    say(`${inFlight} in flight: ${JSON.stringify(submits[inFlight])}`);
    atMost(
      `submit p50 with keys, limits and idempotency / with none of it, ${inFlight} in flight`,
      percentile(sides.guarded.submitMs, 50) / percentile(sides.open.submitMs, 50),
      1.25,
    );
  }

  say("reads of the database …");
  const counted = Math.round(200 * scale);
  const atFirst = await readsOf(sql);
  const startedAtMs = performance.now();
  await runRound(undefined, doors.guarded, { inFlight: 4, jobs: counted, processes });
  const tookMs = performance.now() - startedAtMs;
  const afterwards = await readsOf(sql);
  // What is read beside the submits, on a clock, is not theirs.
  await sleep(tookMs);
  const idle = await readsOf(sql);
  const busyReads = more(atFirst, afterwards);
  const idleReads = more(afterwards, idle);
  for (const [name, reads] of Object.entries(busyReads))
    atMost(`reads of ${name} per warm submit`, round(Math.max(0, reads - (idleReads[name] ?? 0)) / counted), 0);

  say("changes at the door …");
  const secondPort = await freePort();
  await start("src/bin/gateway.ts", { ...env, TEMPERA_PORT: String(secondPort) }, "is ready");
  const secondUrl = `http://127.0.0.1:${secondPort}`;
  const submitOnce = async (at: string, credential: string): Promise<number> => {
    const answer = await request(`${at}/queue/${STUB}`, {
      method: "POST",
      headers: { authorization: `Key ${credential}`, "content-type": "application/json" },
      body: "{}",
      dispatcher: agent,
    });
    await answer.body.dump();
    return answer.statusCode;
  };
  /** Milliseconds from a change until the second gateway answers so. */
  const seenAfter = async (credential: string, status: number, change: () => Promise<unknown>): Promise<number> => {
    const sinceMs = performance.now();
    await change();
    while ((await submitOnce(secondUrl, credential)) !== status) {
      if (performance.now() - sinceMs > 60_000) throw new Error(`the second gateway does not answer ${status}`);
    }
    return performance.now() - sinceMs;
  };
  const revocations: number[] = [];
  const changes: number[] = [];
  for (let i = 0; i < (quick ? 2 : 10); i++) {
    const owner = `owner-${i}`;
    const made = await newKey(owner);
    for (const at of [url, secondUrl]) if ((await submitOnce(at, made.key)) !== 200) throw new Error("a fresh key is refused");
    changes.push(
      await seenAfter(made.key, 429, () => admin("PATCH", `/v1/tempera/owners/${owner}`, { exceptions: { requests_per_second: 0.001 } })),
    );
    revocations.push(await seenAfter(made.key, 401, () => admin("DELETE", `/v1/keys/${made.key_id}`)));
  }
  atMost("revocation seen by a second gateway, longest, ms", Math.max(...revocations), REVOCATION_MS);
  atMost("change of a limit seen by a second gateway, longest, ms", Math.max(...changes), CHANGE_MS);

  bench.report({
    submits,
    reads: { submits: counted, while_submitting: busyReads, in_the_same_time_without: idleReads },
    seen_after_ms: { revocations: revocations.map(round), limit_changes: changes.map(round) },
  });
});
