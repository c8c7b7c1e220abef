/**
 * `npm run bench:limits`: the cost of the checks at the gateway, the delay until another gateway sees a
 * change of them, and the cost of many records and of their deletion. One process has a gateway with keys,
 * limits, flags and idempotency keys and one without any, which alternate: ratios within one run are
 * comparable, absolute times are not.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, Connection } from "@temporalio/client";
import { Agent, request } from "undici";
import { connectPostgres } from "../../src/adapters/postgres/connection.ts";
import { freePort } from "../../src/dev/services/port.ts";
import { countedPostgres } from "../integration/counted-postgres.ts";
import { packageArchive } from "../integration/pushed-model.ts";
import { createAdminCalls } from "./admin-calls.ts";
import { measureRequestPages } from "./bench-requests.ts";
import { percentile, round, runBench, STUB, say } from "./harness.ts";
import { measureRetention } from "./retention-measure.ts";
import { type Job, newSide, runRound, type Side, summary } from "./rounds.ts";

const IN_FLIGHT = [1, 4] as const;

/** Every limit of a plan, so high that none is reached. */
const ALL_LIMITS = {
  requests_per_second: 50_000,
  burst: 50_000,
  in_progress: 10_000,
  queued: 1_000_000,
  weight: 2,
};

/** Reads of the tables of keys, limits, flags and models. A warm submit makes none. */
const READS_CHECKS =
  /^\s*(SELECT|WITH)\b.*\b(keys|plans|owners|key_allowances|flags|model_versions|rollouts)\b/is;

/** Longer than the interval of everything that a gateway reads periodically. */
const CLOCK_MS = 5_000;

/** Limits of the delay until another gateway sees a change. */
const REVOCATION_MS = 2_000;
const CHANGE_MS = 5_000;

/** An input that the model's schema refuses: every other check comes before, and nothing is queued. */
const INVALID_INPUT = JSON.stringify({ prompt: 5 });
const PASSED_ALL_CHECKS = 422;

interface GatewayTarget {
  url: string;
  headers: Record<string, string>;
  /** Each submit has its own idempotency key. */
  keyed: boolean;
}

/** Submits one no-op job and waits for it. */
const submitTo =
  ({ url, headers, keyed }: GatewayTarget, agent: Agent, client: Client): Job =>
  async () => {
    const startedAtMs = performance.now();
    const answer = await request(`${url}/queue/${STUB}`, {
      method: "POST",
      headers: {
        ...headers,
        "content-type": "application/json",
        ...(keyed && { "idempotency-key": randomUUID() }),
      },
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

const countOf = (texts: string[]): Map<string, number> => {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
};

await runBench(
  "bench:limits",
  "the gateway's checks (keys, limits, flags, idempotency), changes, retention, lists",
  async (bench) => {
    const { closing, key, processes, start, atMost, atLeast, rounds, scale, quick } = bench;
    const { url, adminUrl, temporal, databaseUrl, env } = await bench.startPlatform({
      TEMPERA_RETENTION_EVERY_SECONDS: "86400",
    });
    const connection = await Connection.connect({ address: temporal.url });
    closing.defer(() => connection.close());
    const client = new Client({ connection, namespace: temporal.namespace });
    const agent = new Agent({ connections: 64, pipelining: 1 });
    closing.defer(() => agent.close());
    const sql = connectPostgres(databaseUrl, { maxConnections: 2 });
    closing.defer(() => sql.end({ timeout: 2 }));
    const { call: admin, newKey } = createAdminCalls(adminUrl, key, agent);

    const openPort = await freePort();
    const guardedPort = await freePort();
    await start(
      "tests/load/two-gateways.ts",
      { ...env, TEMPERA_PORT: String(guardedPort), BENCH_OPEN_PORT: String(openPort) },
      "is ready",
    );
    await admin("PATCH", "/v1/tempera/plans/everything", ALL_LIMITS);
    await admin("PATCH", "/v1/tempera/owners/guarded", { plan: "everything" });
    await admin("PUT", `/v1/flags/model/${STUB}`, { share: 100, owner: "guarded" });
    await admin("PUT", "/v1/flags/behaviour/previews", { share: 50 });
    const guarded: GatewayTarget = {
      url: `http://127.0.0.1:${guardedPort}`,
      headers: { authorization: `Key ${(await newKey("guarded")).key}` },
      keyed: true,
    };
    const open: GatewayTarget = { url: `http://127.0.0.1:${openPort}`, headers: {}, keyed: false };
    const jobsOf = { open: submitTo(open, agent, client), guarded: submitTo(guarded, agent, client) };

    say("warming up …");
    for (const job of [jobsOf.open, jobsOf.guarded, jobsOf.open, jobsOf.guarded])
      await runRound(undefined, job, { inFlight: 4, jobs: quick ? 50 : 300, processes });

    const submits: Record<string, Record<keyof typeof jobsOf, ReturnType<typeof summary>>> = {};
    for (const inFlight of IN_FLIGHT) {
      const sides: Record<keyof typeof jobsOf, Side> = { open: newSide(), guarded: newSide() };
      const jobs = Math.round(20 * inFlight * scale);
      // Short rounds, so that other load of the machine falls on both sides.
      for (let i = 0; i < rounds * 4; i++) {
        const order = ["open", "guarded"] as const;
        for (const name of i % 2 === 0 ? order : [...order].reverse())
          await runRound(sides[name], jobsOf[name], { inFlight, jobs, processes });
      }
      submits[inFlight] = { open: summary(sides.open), guarded: summary(sides.guarded) };
      say(`${inFlight} in flight: ${JSON.stringify(submits[inFlight])}`);
      atMost(
        `submit p50 with keys, limits, flags and idempotency / with none of it, ${inFlight} in flight`,
        percentile(sides.guarded.submitMs, 50) / percentile(sides.open.submitMs, 50),
        1.25,
      );
    }

    say("queries of another gateway …");
    await using counted = await countedPostgres(databaseUrl);
    const secondPort = await freePort();
    await start(
      "src/bin/gateway.ts",
      { ...env, DATABASE_URL: counted.url, TEMPERA_PORT: String(secondPort) },
      "is ready",
    );
    const secondUrl = `http://127.0.0.1:${secondPort}`;
    const warmJob = submitTo({ ...guarded, url: secondUrl }, agent, client);
    await runRound(undefined, warmJob, { inFlight: 4, jobs: 20, processes });
    const submitted = Math.round(200 * scale);
    counted.statements.length = 0;
    const startedAtMs = performance.now();
    await runRound(undefined, warmJob, { inFlight: 4, jobs: submitted, processes });
    const tookMs = performance.now() - startedAtMs;
    const whileSubmitting = countOf(counted.statements.filter((text) => READS_CHECKS.test(text)));
    const claims = counted.statements.filter((text) => text.includes("INSERT INTO claims")).length;
    counted.statements.length = 0;
    // Periodic reads happen without submits too, so they are subtracted.
    await sleep(tookMs + CLOCK_MS);
    const withoutSubmits = countOf(counted.statements.filter((text) => READS_CHECKS.test(text)));
    const ofSubmits = [...whileSubmitting].map(([text, times]) =>
      Math.max(0, times - (withoutSubmits.get(text) ?? 0)),
    );
    const reads = ofSubmits.reduce((all, times) => all + times, 0);
    atMost("queries for keys, limits, flags and registry per warm submit", reads / submitted, 0);
    atLeast("claims of idempotency keys seen by the same count, per submit", claims / submitted, 1);

    say("changes of keys, limits, flags and models …");
    const statusOf = async (gatewayUrl: string, credential: string, endpoint = STUB): Promise<number> => {
      const response = await request(`${gatewayUrl}/queue/${endpoint}`, {
        method: "POST",
        headers: { authorization: `Key ${credential}`, "content-type": "application/json" },
        body: INVALID_INPUT,
        dispatcher: agent,
      });
      await response.body.dump();
      return response.statusCode;
    };
    /** Makes a change; gives the milliseconds until the second gateway replies with the status. */
    const seenAfter = async (
      readStatus: () => Promise<number>,
      status: number,
      change: () => Promise<unknown>,
    ): Promise<number> => {
      const sinceMs = performance.now();
      await change();
      for (;;) {
        const found = await readStatus();
        if (found === status) return performance.now() - sinceMs;
        if (performance.now() - sinceMs > 60_000)
          throw new Error(`the second gateway replies ${found}, not ${status}`);
        await sleep(5);
      }
    };
    const seen = {
      revocations: [] as number[],
      limits: [] as number[],
      flags: [] as number[],
      pushes: [] as number[],
    };
    for (let i = 0; i < (quick ? 2 : 10); i++) {
      const owner = `owner-${i}`;
      const made = await newKey(owner);
      for (const gatewayUrl of [url, secondUrl]) {
        const status = await statusOf(gatewayUrl, made.key);
        if (status !== PASSED_ALL_CHECKS) throw new Error(`a new key gets the status ${status}`);
      }
      const atSecond = (): Promise<number> => statusOf(secondUrl, made.key);
      const flag = `/v1/flags/model/${STUB}`;
      seen.flags.push(await seenAfter(atSecond, 403, () => admin("PUT", flag, { share: 0, owner })));
      seen.flags.push(
        await seenAfter(atSecond, PASSED_ALL_CHECKS, () => admin("DELETE", `${flag}?owner=${owner}`)),
      );
      const endpoint = `bench/pushed-${i}`;
      const archive = await packageArchive(bench.folder, { endpoint });
      const atPushed = (): Promise<number> => statusOf(secondUrl, made.key, endpoint);
      const unknown = await atPushed();
      if (unknown !== 404) throw new Error(`a model that was not pushed is answered ${unknown}`);
      seen.pushes.push(
        await seenAfter(atPushed, PASSED_ALL_CHECKS, () => admin("POST", "/v1/registry/versions", archive)),
      );
      const slow = { exceptions: { requests_per_second: 0.001 } };
      seen.limits.push(
        await seenAfter(atSecond, 429, () => admin("PATCH", `/v1/tempera/owners/${owner}`, slow)),
      );
      seen.revocations.push(await seenAfter(atSecond, 401, () => admin("DELETE", `/v1/keys/${made.key_id}`)));
    }
    atMost("revocation seen by a second gateway, longest, ms", Math.max(...seen.revocations), REVOCATION_MS);
    atMost("change of a limit seen by a second gateway, longest, ms", Math.max(...seen.limits), CHANGE_MS);
    atMost("change of a flag seen by a second gateway, longest, ms", Math.max(...seen.flags), CHANGE_MS);
    atMost("push of a model seen by a second gateway, longest, ms", Math.max(...seen.pushes), CHANGE_MS);

    const retention = await measureRetention(bench, { url, adminUrl, sql });

    const sizes = quick ? { few: 1_000, many: 20_000, rounds: 50 } : {};
    say("lists of few requests and of many …");
    const requests = await measureRequestPages(databaseUrl, sizes);
    atMost(
      "requests by endpoint, p95 of the first page with a million records / with ten thousand",
      requests.newest_times,
      2,
    );

    bench.report({
      submits,
      queries: {
        submits: submitted,
        while_submitting: [...whileSubmitting],
        in_more_time_without: [...withoutSubmits],
      },
      seen_after_ms: Object.fromEntries(
        Object.entries(seen).map(([change, times]) => [change, times.map(round)]),
      ),
      retention,
      requests,
    });
  },
);
