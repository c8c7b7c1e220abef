/**
 * `npm run bench:queue`: the cost that the platform adds to bare Temporal. Both sides alternate in one
 * process tree on the same Temporal server: ratios within one run are comparable, absolute times are not.
 */
import { Client, Connection } from "@temporalio/client";
import { Agent, request } from "undici";
import { freePort } from "../../src/dev/services/port.ts";
import { percentile, round, runBench, STUB, say } from "./harness.ts";
import { httpLoad } from "./http-load.ts";
import { bareJob, type Job, newSide, runRound, type Side, summary } from "./rounds.ts";

const IN_FLIGHT = [1, 4, 16, 64] as const;

/** Runs one job through the HTTP API, as a client that follows the status stream. */
const throughGateway =
  (url: string, key: string, agent: Agent, client?: Client): Job =>
  async () => {
    const headers = { authorization: `Key ${key}`, "content-type": "application/json" };
    const startedAtMs = performance.now();
    const submitted = await request(`${url}/queue/${STUB}`, {
      method: "POST",
      headers,
      body: "{}",
      dispatcher: agent,
    });
    const body = (await submitted.body.json()) as { request_id: string };
    const submitMs = performance.now() - startedAtMs;
    const startMs = Number(/temporal;dur=([\d.]+)/.exec(String(submitted.headers["server-timing"]))?.[1]);
    if (submitted.statusCode !== 200)
      throw new Error(`submit: ${submitted.statusCode} ${JSON.stringify(body)}`);
    const address = `${url}/queue/${STUB}/requests/${body.request_id}`;
    const stream = await request(`${address}/status/stream`, { headers, dispatcher: agent });
    let text = "";
    for await (const chunk of stream.body) {
      text = (text + chunk).slice(-2000);
      if (text.includes('"COMPLETED"')) break;
    }
    const result = await request(address, { headers, dispatcher: agent });
    const output = await result.body.json();
    const wholeMs = performance.now() - startedAtMs;
    if (result.statusCode !== 200) throw new Error(`result: ${result.statusCode} ${JSON.stringify(output)}`);
    return {
      submitMs,
      gatewayMs: submitMs - startMs,
      wholeMs,
      closed: client?.workflow.getHandle(body.request_id).result(),
    };
  };

/**
 * Starts the bare workflow through an HTTP hop that does nothing else: the share of a submit's cost that is
 * the hop itself, while the started job works on the same cores. For comparison only; no check uses it.
 */
const throughBareGateway =
  (url: string, agent: Agent, client: Client): Job =>
  async () => {
    const startedAtMs = performance.now();
    const response = await request(`${url}/submit`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: "{}",
      dispatcher: agent,
    });
    const { id, start_ms: startMs } = (await response.body.json()) as { id: string; start_ms: number };
    const submitMs = performance.now() - startedAtMs;
    await client.workflow.getHandle(id).result();
    return { submitMs, gatewayMs: submitMs - startMs, wholeMs: performance.now() - startedAtMs };
  };

await runBench("bench:queue", "the queue API beside bare Temporal, on one server", async (bench) => {
  const { closing, key, processes, start, atMost, atLeast, rounds, scale } = bench;
  const { url, temporal, redisUrl } = await bench.startPlatform();
  const port = Number(new URL(url).port);
  await start("tests/load/bare-worker.ts", { TEMPORAL_ADDRESS: temporal.url }, "ready");
  const connection = await Connection.connect({ address: temporal.url });
  closing.defer(() => connection.close());
  const client = new Client({ connection, namespace: temporal.namespace });
  const agent = new Agent({ connections: 256, pipelining: 1 });
  closing.defer(() => agent.close());

  const plainJob = bareJob(client);
  const gatewayJob = throughGateway(url, key, agent, client);
  const gatewayPort = await freePort();
  await start(
    "tests/load/bare-gateway.ts",
    { TEMPORAL_ADDRESS: temporal.url, PORT: String(gatewayPort) },
    "ready",
  );
  const bareGatewayJob = throughBareGateway(`http://127.0.0.1:${gatewayPort}`, agent, client);

  say("warming up …");
  for (const job of [plainJob, gatewayJob, bareGatewayJob, plainJob, gatewayJob, bareGatewayJob])
    await runRound(undefined, job, { inFlight: 16, jobs: 200, processes });

  const queue: Record<string, Record<"bare" | "bare_gateway" | "tempera", ReturnType<typeof summary>>> = {};
  const sides = new Map<number, { bare: Side; tempera: Side }>();
  for (const inFlight of IN_FLIGHT) {
    const bare = newSide();
    const bareGateway = newSide();
    const tempera = newSide();
    const jobs = Math.round((inFlight === 1 ? 60 : 40 + inFlight * 8) * scale);
    for (let i = 0; i < rounds; i++) {
      const order: [Side, Job][] = [
        [bare, plainJob],
        [bareGateway, bareGatewayJob],
        [tempera, gatewayJob],
      ];
      for (const [side, job] of i % 2 === 0 ? order : order.reverse())
        await runRound(side, job, { inFlight, jobs, processes });
    }
    sides.set(inFlight, { bare, tempera });
    const figures = { bare: summary(bare), bare_gateway: summary(bareGateway), tempera: summary(tempera) };
    queue[inFlight] = figures;
    for (const [name, figure] of Object.entries(figures))
      say(`${inFlight} in flight, ${name}: ${JSON.stringify(figure)}`);
  }
  const side = (inFlight: number): { bare: Side; tempera: Side } =>
    sides.get(inFlight) as { bare: Side; tempera: Side };
  for (const inFlight of [1, 4]) {
    atMost(
      `submit p50 / bare workflow start p50, ${inFlight} in flight`,
      percentile(side(inFlight).tempera.submitMs, 50) / percentile(side(inFlight).bare.submitMs, 50),
      1.5,
    );
  }
  atMost(
    "gateway time (submit less the Temporal start inside it) p99, 4 in flight, ms",
    percentile(side(4).tempera.gatewayMs, 99),
    20,
  );
  for (const inFlight of [1, 16]) {
    atMost(
      `submit to output p50 / bare p50, ${inFlight} in flight`,
      percentile(side(inFlight).tempera.wholeMs, 50) / percentile(side(inFlight).bare.wholeMs, 50),
      1,
    );
  }
  atLeast(
    "jobs/s / bare jobs/s, 16 in flight",
    side(16).tempera.jobs / side(16).tempera.seconds / (side(16).bare.jobs / side(16).bare.seconds),
    0.8,
  );

  say("status reads …");
  const finished = await request(`${url}/queue/${STUB}`, {
    method: "POST",
    headers: { authorization: `Key ${key}` },
    body: "{}",
    dispatcher: agent,
  });
  const { request_id: requestId } = (await finished.body.json()) as { request_id: string };
  const statusPath = `/queue/${STUB}/requests/${requestId}/status`;
  const statusHeaders = { authorization: `Key ${key}` };
  let statusBody = "";
  for (;;) {
    const response = await request(`${url}${statusPath}`, { headers: statusHeaders, dispatcher: agent });
    statusBody = await response.body.text();
    if (response.statusCode === 200) break;
  }
  const routePort = await freePort();
  const redisKey = `tempera:{${requestId}}:snapshot`;
  await start(
    "tests/load/bare-route.ts",
    { REDIS_URL: redisUrl, PORT: String(routePort), BODY_BYTES: String(statusBody.length - 40) },
    "ready",
  );
  const reads = { bare: [] as number[], tempera: [] as number[] };
  for (let i = 0; i < rounds + 1; i++) {
    const load = { connections: 32, seconds: 2, expected: 200 };
    const order = [
      async () =>
        reads.bare.push(
          (
            await httpLoad({
              ...load,
              port: routePort,
              path: `/status/${encodeURIComponent(redisKey)}`,
              headers: {},
            })
          ).requestsPerSecond,
        ),
      async () =>
        reads.tempera.push(
          (await httpLoad({ ...load, port, path: statusPath, headers: statusHeaders })).requestsPerSecond,
        ),
    ];
    for (const measureSide of i % 2 === 0 ? order : order.reverse()) await measureSide();
    if (i === 0) reads.bare.length = reads.tempera.length = 0; // the first round warms both up
  }
  const bareReads = percentile(reads.bare, 50);
  const temperaReads = percentile(reads.tempera, 50);
  atLeast("status reads/s / bare Hono + HGETALL reads/s", temperaReads / bareReads, 0.6);

  let busy = true;
  const jobsInFlight = runWhile(() => busy, gatewayJob, 16);
  const polls: number[] = [];
  for (const until = performance.now() + 5_000; performance.now() < until; ) {
    const startedAtMs = performance.now();
    const response = await request(`${url}${statusPath}`, { headers: statusHeaders, dispatcher: agent });
    await response.body.dump();
    polls.push(performance.now() - startedAtMs);
  }
  busy = false;
  await jobsInFlight;
  atMost("status read p99 with 16 jobs in flight, ms", percentile(polls, 99), 20);

  process.kill(temporal.pid, "SIGSTOP");
  const frozen = await httpLoad({
    port,
    path: statusPath,
    headers: statusHeaders,
    connections: 8,
    seconds: 1,
    expected: 200,
  });
  process.kill(temporal.pid, "SIGCONT");
  atMost("status reads that failed while Temporal was frozen", frozen.unexpected, 0);
  atLeast("status reads answered while Temporal was frozen", frozen.latenciesMs.length, 100);

  say("the embedded default …");
  const embeddedJob = throughGateway(await bench.startEmbedded(), key, agent);
  await runRound(undefined, embeddedJob, { inFlight: 1, jobs: 30, processes });
  const embeddedSide = newSide();
  await runRound(embeddedSide, embeddedJob, { inFlight: 1, jobs: 100, processes });
  atMost(
    "embedded default: one no-op job, submit to output p50, ms",
    percentile(embeddedSide.wholeMs, 50),
    50,
  );

  bench.report({
    queue,
    status_reads: {
      bare_per_second: round(bareReads),
      tempera_per_second: round(temperaReads),
      p99_ms_with_16_jobs: round(percentile(polls, 99)),
    },
    embedded: summary(embeddedSide),
  });
});

/** Keeps `inFlight` jobs running while `condition` holds. */
async function runWhile(condition: () => boolean, job: Job, inFlight: number): Promise<void> {
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (condition()) await job();
    }),
  );
}
