/**
 * `npm run bench:sync`: synchronous calls. Sync runs beside the bare Temporal workflow of `bench:queue`, the
 * first byte of a stream, a thousand status streams at once, and a burst of webhooks to a receiver that is
 * down for a minute.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, Connection } from "@temporalio/client";
import { Agent, request } from "undici";
import { type Bench, percentile, round, runBench, STUB, say } from "./harness.ts";
import { COLLECT_GARBAGE, residentKib } from "./resident-memory.ts";
import { bareJob, type Job, newSide, runRound, summary } from "./rounds.ts";

/** A running platform with the client that calls it. */
interface Platform {
  url: string;
  agent: Agent;
  headers: Record<string, string>;
}

/** Makes one sync run of the stub engine, which takes no time for an empty input. */
const syncJob =
  ({ url, agent, headers }: Platform, client: Client): Job =>
  async () => {
    const startedAtMs = performance.now();
    const response = await request(`${url}/${STUB}`, {
      method: "POST",
      headers,
      body: "{}",
      dispatcher: agent,
    });
    const output = await response.body.text();
    const wholeMs = performance.now() - startedAtMs;
    if (response.statusCode !== 200) throw new Error(`run: ${response.statusCode} ${output}`);
    return {
      submitMs: wholeMs,
      wholeMs,
      closed: client.workflow.getHandle(String(response.headers["x-fal-request-id"])).result(),
    };
  };

async function measureRuns(bench: Bench, platform: Platform, client: Client) {
  const { processes, rounds, scale, atMost } = bench;
  const [bareRun, syncRun] = [bareJob(client), syncJob(platform, client)];
  say("warming up …");
  for (const job of [bareRun, syncRun, bareRun, syncRun])
    await runRound(undefined, job, { inFlight: 16, jobs: 200, processes });
  const figures: Record<string, object> = {};
  for (const inFlight of [1, 16]) {
    const sides = { bare: newSide(), tempera: newSide() };
    const jobs = Math.round((inFlight === 1 ? 100 : 300) * scale);
    const measurements = [
      () => runRound(sides.bare, bareRun, { inFlight, jobs, processes }),
      () => runRound(sides.tempera, syncRun, { inFlight, jobs, processes }),
    ];
    for (let i = 0; i < rounds; i++)
      for (const measure of i % 2 === 0 ? measurements : [...measurements].reverse()) await measure();
    figures[inFlight] = { bare: summary(sides.bare), tempera: summary(sides.tempera) };
    say(`${inFlight} in flight: ${JSON.stringify(figures[inFlight])}`);
    for (const [p, limit] of [
      [50, 0.8],
      [99, 1],
    ] as const)
      atMost(
        `sync run p${p} / bare p${p}, ${inFlight} in flight`,
        percentile(sides.tempera.wholeMs, p) / percentile(sides.bare.wholeMs, p),
        limit,
      );
  }
  return figures;
}

async function measureFirstByte({ scale, atMost }: Bench, { url, agent, headers }: Platform) {
  const ms: number[] = [];
  for (let i = 0; i < 200 * scale; i++) {
    const startedAtMs = performance.now();
    const response = await request(`${url}/${STUB}/stream`, {
      method: "POST",
      headers,
      body: JSON.stringify({ delay_ms: 20, steps: 2 }),
      dispatcher: agent,
    });
    let first = true;
    for await (const _ of response.body) {
      if (first) ms.push(performance.now() - startedAtMs);
      first = false;
    }
  }
  atMost("first byte of a stream p50, ms", percentile(ms, 50), 40);
  return { first_byte_ms: { p50: round(percentile(ms, 50)), p99: round(percentile(ms, 99)) } };
}

/**
 * Opens status streams on jobs that do little; measures the delay of each event, and the memory that each
 * stream costs the gateway.
 */
async function measureStatusStreams(bench: Bench, { url, agent, headers }: Platform) {
  const count = Math.round(1000 * bench.scale);
  const jobs = 20;
  const gateway = bench.processes.gateway ?? 0;
  const gatewayKib = async (): Promise<number> => (await residentKib([gateway]))[0] as number;
  const submit = async (input: object): Promise<string> => {
    const response = await request(`${url}/queue/${STUB}`, {
      method: "POST",
      headers,
      body: JSON.stringify(input),
      dispatcher: agent,
    });
    return ((await response.body.json()) as { request_id: string }).request_id;
  };
  /** Steps that are made long after the streams have opened. */
  const [delayMs, steps] = [90_000, 6];
  const ids = await Promise.all(Array.from({ length: jobs }, () => submit({ delay_ms: delayMs, steps })));
  const receivedAtMs = new Map<string, number[]>();
  let opened = 0;
  let finished = 0;
  const open = async (id: string, signal?: AbortSignal) => {
    const path = `/queue/${STUB}/requests/${id}/status/stream`;
    const { statusCode, body } = await request(`${url}${path}`, {
      headers,
      dispatcher: agent,
      bodyTimeout: 0,
      signal: signal ?? null,
    });
    if (statusCode !== 200) throw new Error(`A status stream got ${statusCode}: ${await body.text()}`);
    body.on("error", () => {});
    opened++;
    return body;
  };
  const follow = async (id: string): Promise<void> => {
    const body = await open(id);
    let text = "";
    for await (const chunk of body) {
      text += chunk;
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const step = /"progress":\{"step":(\d+)/.exec(text.slice(0, end))?.[1];
        text = text.slice(end + 2);
        if (step !== undefined)
          receivedAtMs.set(`${id} ${step}`, [
            ...(receivedAtMs.get(`${id} ${step}`) ?? []),
            performance.now(),
          ]);
      }
    }
    finished++;
  };
  // V8 sometimes enlarges its heap in advance, so the growth by one thousand streams varies: three times a
  // thousand are opened, and the median is reported. The first two lots are closed before the events come.
  const closingFirstLots = new AbortController();
  const sizes = [await gatewayKib()];
  for (let lot = 0; lot < 2; lot++) {
    await Promise.all(
      Array.from({ length: count }, (_, i) => open(ids[i % jobs] as string, closingFirstLots.signal)),
    );
    await sleep(3_000);
    sizes.push(await gatewayKib());
  }
  const following = Promise.all(Array.from({ length: count }, (_, i) => follow(ids[i % jobs] as string)));
  while (opened < 3 * count) await sleep(50);
  await sleep(3_000);
  sizes.push(await gatewayKib());
  closingFirstLots.abort();
  say(`${count} status streams are open; waiting for their events …`);
  await following;
  // Each event reaches all streams of its job; the first one to receive it is the best estimate of the
  // event's own time.
  const late: number[] = [];
  let missed = 0;
  for (const id of ids)
    for (let step = 1; step <= steps; step++) {
      const received = receivedAtMs.get(`${id} ${step}`) ?? [];
      missed += Math.max(0, Math.ceil((count - ids.indexOf(id)) / jobs) - received.length);
      const firstMs = Math.min(...received);
      late.push(...received.map((atMs) => atMs - firstMs));
    }
  const grownKib = sizes.slice(1).map((size, i) => (size - (sizes[i] ?? 0)) / count);
  const kib = percentile(grownKib, 50);
  bench.atMost(`events that ${count} status streams missed`, missed + (count - finished), 0);
  bench.atMost(`slowest of ${count} status streams to receive an event, ms`, Math.max(...late), 250);
  bench.atMost("memory of a status stream, KiB", kib, 40);
  return {
    streams: count,
    late_ms: {
      p50: round(percentile(late, 50)),
      p99: round(percentile(late, 99)),
      max: round(Math.max(...late)),
    },
    kib_each: grownKib.map(round),
  };
}

/** Sends 500 webhooks to a receiver that replies 500 for its first minute, and others to a healthy one. */
async function measureWebhooks(bench: Bench, { url, agent, headers }: Platform) {
  const count = Math.round(500 * bench.scale);
  const failingMs = 60_000;
  const startedAtMs = performance.now();
  const delivered = new Map<string, number>();
  const healthyAtMs = new Map<string, number>();
  let refused = 0;
  const startReceiver = (host: string, statusFor: (id: string) => number) =>
    new Promise<string>((open) => {
      const server = createServer((incoming, response) => {
        incoming
          .resume()
          .once("end", () =>
            response.writeHead(statusFor(String(incoming.headers["x-fal-webhook-request-id"]))).end(),
          );
      });
      bench.closing.defer(() => {
        server.closeAllConnections();
        server.close();
      });
      server.listen(0, host, () => open(`http://${host}:${(server.address() as AddressInfo).port}/`));
    });
  const failingUrl = await startReceiver("127.0.0.1", (id) => {
    if (performance.now() - startedAtMs < failingMs) {
      refused++;
      return 500;
    }
    delivered.set(id, (delivered.get(id) ?? 0) + 1);
    return 200;
  });
  const healthyUrl = await startReceiver("127.0.0.2", (id) => {
    healthyAtMs.set(id, performance.now());
    return 200;
  });
  const submit = async (hook: string): Promise<string> => {
    const response = await request(`${url}/queue/${STUB}?fal_webhook=${encodeURIComponent(hook)}`, {
      method: "POST",
      headers,
      body: "{}",
      dispatcher: agent,
    });
    return ((await response.body.json()) as { request_id: string }).request_id;
  };
  /** Measures the milliseconds from the end of each job to the arrival of its webhook. */
  const measureHealthy = async (): Promise<number[]> => {
    const endedAtMs = new Map<string, number>();
    const jobs: Promise<void>[] = [];
    for (let i = 0; i < 50; i++) {
      const id = await submit(healthyUrl);
      jobs.push(
        request(`${url}/queue/${STUB}/requests/${id}/status/stream`, {
          headers,
          dispatcher: agent,
          bodyTimeout: 0,
        }).then(async ({ body }) => {
          for await (const chunk of body)
            if (String(chunk).includes('"COMPLETED"')) endedAtMs.set(id, performance.now());
        }),
      );
      await sleep(20);
    }
    await Promise.all(jobs);
    while (![...endedAtMs.keys()].every((id) => healthyAtMs.has(id))) await sleep(20);
    return [...endedAtMs].map(([id, atMs]) => Math.max(0, (healthyAtMs.get(id) ?? 0) - atMs));
  };
  const alone = await measureHealthy();
  say(`${count} webhooks to a receiver that is down for a minute …`);
  for (let i = 0; i < count; i += 20)
    await Promise.all(Array.from({ length: Math.min(20, count - i) }, () => submit(failingUrl)));
  const beside = await measureHealthy();
  while (delivered.size < count && performance.now() - startedAtMs < 480_000) await sleep(250);
  const seconds = (performance.now() - startedAtMs) / 1000;
  // A second delivery would come soon after.
  await sleep(2_000);
  bench.atMost(`webhooks of ${count} that were not delivered`, count - delivered.size, 0);
  bench.atMost(
    "webhooks that were delivered more than once",
    [...delivered.values()].filter((times) => times > 1).length,
    0,
  );
  bench.atMost(
    "delivery to a healthy receiver p99, beside the one that is down, ms",
    percentile(beside, 99),
    5_000,
  );
  return {
    count,
    refused_attempts: refused,
    all_delivered_after_seconds: round(seconds),
    healthy_ms: {
      alone: { p50: round(percentile(alone, 50)), p99: round(percentile(alone, 99)) },
      beside: { p50: round(percentile(beside, 50)), p99: round(percentile(beside, 99)) },
    },
  };
}

await runBench("bench:sync", "sync runs, streams and webhooks on the stub engine", async (bench) => {
  const { url, temporal } = await bench.startPlatform({
    TEMPERA_ALLOW_PRIVATE_ADDRESSES: "127.0.0.0/8",
    // One caller holds all status streams here.
    TEMPERA_RUNS_MAX: "10000",
    TEMPERA_OPEN_CALLS_MAX: "10000",
    NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ""} --import ${COLLECT_GARBAGE}`,
  });
  await bench.start("tests/load/bare-worker.ts", { TEMPORAL_ADDRESS: temporal.url }, "ready");
  const connection = await Connection.connect({ address: temporal.url });
  bench.closing.defer(() => connection.close());
  const agent = new Agent({ connections: 4096, pipelining: 1 });
  bench.closing.defer(() => agent.destroy());
  const client = new Client({ connection, namespace: temporal.namespace });
  const platform: Platform = {
    url,
    agent,
    headers: { authorization: `Key ${bench.key}`, "content-type": "application/json" },
  };

  const runs = await measureRuns(bench, platform, client);
  const firstByte = await measureFirstByte(bench, platform);
  const streams = await measureStatusStreams(bench, platform);
  const webhooks = await measureWebhooks(bench, platform);
  bench.report({ sync: runs, stream: firstByte, status_streams: streams, webhooks });
});
