/**
 * `npm run bench:pipeline`: the cost of a pipeline's node compared with a bare Temporal activity. Both sides
 * alternate on one Temporal server: ratios within one run are comparable, absolute times are not.
 */
import { randomUUID } from "node:crypto";
import { Client, Connection } from "@temporalio/client";
import { Agent, request } from "undici";
import { cpuTimes } from "./cpu-time.ts";
import { type Bench, percentile, round, runBench, say } from "./harness.ts";

const PIPELINE = "tempera/stub-pipeline";

/** Nodes of the chain and of the fan. */
const CHAIN = 20;
const FAN = 50;
/** Nodes of the long chain. */
const LONG = 200;

/** A running platform with the clients that call it. */
interface Platform {
  url: string;
  agent: Agent;
  headers: Record<string, string>;
  client: Client;
}

const chain = (nodes: number): object[][] => Array.from({ length: nodes }, () => [{}]);
const fan = (nodes: number): object[][] => [Array.from({ length: nodes }, () => ({}))];

/** Runs a pipeline to its output. `ms` excludes the stubs' own time. */
async function runPipeline(
  { url, agent, headers, client }: Platform,
  stages: object[][],
): Promise<{ ms: number; requestId: string }> {
  const startedAtMs = performance.now();
  const response = await request(`${url}/${PIPELINE}`, {
    method: "POST",
    headers,
    body: JSON.stringify({ stages }),
    dispatcher: agent,
  });
  const text = await response.body.text();
  const wholeMs = performance.now() - startedAtMs;
  const requestId = String(response.headers["x-fal-request-id"]);
  if (response.statusCode !== 200) throw new Error(`pipeline: ${response.statusCode} ${text}`);
  await client.workflow.getHandle(requestId).result();
  const status = await request(`${url}/queue/${PIPELINE}/requests/${requestId}/status`, {
    headers,
    dispatcher: agent,
  });
  const { metrics } = (await status.body.json()) as { metrics: { inference_time: number } };
  // Parallel nodes overlap, so one share of their total time is subtracted.
  const parallel = Math.max(...stages.map((stage) => stage.length));
  return { ms: wholeMs - (metrics.inference_time * 1000) / parallel, requestId };
}

async function runBare({ client }: Platform, type: "bareChain" | "bareFan", calls: number): Promise<number> {
  const startedAtMs = performance.now();
  await client.workflow.execute(type, { taskQueue: "bare", workflowId: randomUUID(), args: [calls] });
  return performance.now() - startedAtMs;
}

async function measure(
  { rounds, scale, atMost, quick, processes }: Bench,
  platform: Platform,
  {
    name,
    bare,
    stages,
    calls,
    runs,
  }: { name: string; bare: "bareChain" | "bareFan"; stages: object[][]; calls: number; runs: number },
) {
  const bareMs: number[] = [];
  const temperaMs: number[] = [];
  const cpu = { bare: {} as Record<string, number>, tempera: {} as Record<string, number> };
  const record = async (
    side: "bare" | "tempera",
    recorded: number[],
    run: () => Promise<number>,
  ): Promise<void> => {
    const before = cpuTimes(processes);
    recorded.push((await run()) / calls);
    for (const [process, ms] of Object.entries(cpuTimes(processes)))
      cpu[side][process] = (cpu[side][process] ?? 0) + ms - (before[process] ?? 0);
  };
  const sides = [
    () => record("bare", bareMs, () => runBare(platform, bare, calls)),
    () => record("tempera", temperaMs, async () => (await runPipeline(platform, stages)).ms),
  ];
  const warm = quick ? 1 : 10;
  for (let i = 0; i < warm; i++) for (const measureSide of sides) await measureSide();
  for (const recorded of [bareMs, temperaMs]) recorded.length = 0;
  for (const side of [cpu.bare, cpu.tempera]) for (const process of Object.keys(side)) side[process] = 0;
  for (let i = 0; i < Math.max(1, Math.round(rounds * runs * scale)); i++)
    for (const measureSide of i % 2 === 0 ? sides : [...sides].reverse()) await measureSide();
  const cpuPerCall = (side: "bare" | "tempera") =>
    Object.fromEntries(
      Object.entries(cpu[side]).map(([process, ms]) => [process, round(ms / calls / bareMs.length)]),
    );
  const figures = {
    bare_ms_per_call: { p50: round(percentile(bareMs, 50)), p90: round(percentile(bareMs, 90)) },
    tempera_ms_per_node: { p50: round(percentile(temperaMs, 50)), p90: round(percentile(temperaMs, 90)) },
    cpu_ms_per_call: { bare: cpuPerCall("bare"), tempera: cpuPerCall("tempera") },
  };
  say(`${name}: ${JSON.stringify(figures)}`);
  atMost(`${name}: a node / a bare activity, p50`, percentile(temperaMs, 50) / percentile(bareMs, 50), 1.3);
  return figures;
}

/** Counts the events of a pipeline's history. */
async function eventsOf({ client }: Platform, requestId: string): Promise<number> {
  const { events } = await client.workflow.getHandle(requestId).fetchHistory();
  return events?.length ?? 0;
}

/**
 * Measures the events that one more node adds to the history: by the difference of two chains, so that events
 * that every pipeline has once are not counted.
 */
async function measureHistory({ atMost }: Bench, platform: Platform) {
  const [short, long] = [
    await runPipeline(platform, chain(CHAIN)),
    await runPipeline(platform, chain(2 * CHAIN)),
  ];
  const [fewer, more] = [await eventsOf(platform, short.requestId), await eventsOf(platform, long.requestId)];
  const perNode = (more - fewer) / CHAIN;
  atMost("history events per sequential node", perNode, 6);
  return { chain_of_20: fewer, chain_of_40: more, per_node: perNode };
}

async function measureLong({ atLeast }: Bench, platform: Platform) {
  const { ms, requestId } = await runPipeline(platform, chain(LONG));
  const headers = platform.headers;
  const response = await request(`${platform.url}/queue/${PIPELINE}/requests/${requestId}`, {
    headers,
    dispatcher: platform.agent,
  });
  const { stages } = (await response.body.json()) as { stages: unknown[] };
  atLeast("nodes of a long pipeline that completes", stages.length, LONG);
  return { nodes: stages.length, ms: round(ms), history_events: await eventsOf(platform, requestId) };
}

await runBench(
  "bench:pipeline",
  "the cost of a pipeline's node beside a bare Temporal activity",
  async (bench) => {
    const { url, temporal } = await bench.startPlatform();
    await bench.start("tests/load/bare-worker.ts", { TEMPORAL_ADDRESS: temporal.url }, "ready");
    const connection = await Connection.connect({ address: temporal.url });
    bench.closing.defer(() => connection.close());
    const agent = new Agent({ connections: 16 });
    bench.closing.defer(() => agent.close());
    const headers = {
      authorization: `Key ${bench.key}`,
      "content-type": "application/json",
      "x-tempera-cache": "off",
    };
    const platform: Platform = {
      url,
      agent,
      headers,
      client: new Client({ connection, namespace: "tempera" }),
    };

    const sequential = await measure(bench, platform, {
      name: `chain of ${CHAIN}`,
      bare: "bareChain",
      stages: chain(CHAIN),
      calls: CHAIN,
      runs: 6,
    });
    const parallel = await measure(bench, platform, {
      name: `fan of ${FAN}`,
      bare: "bareFan",
      stages: fan(FAN),
      calls: FAN,
      runs: 6,
    });
    const history = await measureHistory(bench, platform);
    const long = await measureLong(bench, platform);
    bench.report({ sequential, parallel, history, long });
  },
);
