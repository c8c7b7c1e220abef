/**
 * `npm run bench:pipeline`: what a node of a pipeline costs beside a bare Temporal activity. Both sides run
 * on the same Temporal server, alternating; ratios of one run count, absolute times say little.
 */
import { randomUUID } from "node:crypto";
import { Client, Connection } from "@temporalio/client";
import { Agent, request } from "undici";
import { cpuTimes } from "./cpu-time.ts";
import { type Bench, percentile, round, runBench, say } from "./harness.ts";

const PIPELINE = "tempera/stub-pipeline";

/** Nodes of the chain, and of the fan. */
const CHAIN = 20;
const FAN = 50;
/** Nodes of the long one. */
const LONG = 200;

/** A platform, and how to speak to it. */
interface Place {
  url: string;
  agent: Agent;
  headers: Record<string, string>;
  client: Client;
}

const chain = (nodes: number): object[][] => Array.from({ length: nodes }, () => [{}]);
const fan = (nodes: number): object[][] => [Array.from({ length: nodes }, () => ({}))];

/** Runs a pipeline to its output. `ms` is less the stubs' own time, which is small but theirs. */
async function runPipeline(
  { url, agent, headers, client }: Place,
  stages: object[][],
): Promise<{ ms: number; requestId: string }> {
  const startedAtMs = performance.now();
  const answer = await request(`${url}/${PIPELINE}`, {
    method: "POST",
    headers,
    body: JSON.stringify({ stages }),
    dispatcher: agent,
  });
  const text = await answer.body.text();
  const wholeMs = performance.now() - startedAtMs;
  const requestId = String(answer.headers["x-fal-request-id"]);
  if (answer.statusCode !== 200) throw new Error(`pipeline: ${answer.statusCode} ${text}`);
  await client.workflow.getHandle(requestId).result();
  const status = await request(`${url}/queue/${PIPELINE}/requests/${requestId}/status`, {
    headers,
    dispatcher: agent,
  });
  const { metrics } = (await status.body.json()) as { metrics: { inference_time: number } };
  // Side by side, their times overlap: what is taken off is one's share of them.
  const sideBySide = Math.max(...stages.map((stage) => stage.length));
  return { ms: wholeMs - (metrics.inference_time * 1000) / sideBySide, requestId };
}

async function runBare({ client }: Place, type: "bareChain" | "bareFan", calls: number): Promise<number> {
  const startedAtMs = performance.now();
  await client.workflow.execute(type, { taskQueue: "bare", workflowId: randomUUID(), args: [calls] });
  return performance.now() - startedAtMs;
}

async function measure(
  { rounds, scale, atMost, quick, processes }: Bench,
  there: Place,
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
  const take = async (
    side: "bare" | "tempera",
    taken: number[],
    run: () => Promise<number>,
  ): Promise<void> => {
    const before = cpuTimes(processes);
    taken.push((await run()) / calls);
    for (const [process, ms] of Object.entries(cpuTimes(processes)))
      cpu[side][process] = (cpu[side][process] ?? 0) + ms - (before[process] ?? 0);
  };
  const turns = [
    () => take("bare", bareMs, () => runBare(there, bare, calls)),
    () => take("tempera", temperaMs, async () => (await runPipeline(there, stages)).ms),
  ];
  const warm = quick ? 1 : 10;
  for (let i = 0; i < warm; i++) for (const turn of turns) await turn();
  for (const taken of [bareMs, temperaMs]) taken.length = 0;
  for (const side of [cpu.bare, cpu.tempera]) for (const process of Object.keys(side)) side[process] = 0;
  for (let i = 0; i < Math.max(1, Math.round(rounds * runs * scale)); i++)
    for (const turn of i % 2 === 0 ? turns : [...turns].reverse()) await turn();
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

/** Events of a pipeline's history. */
async function eventsOf({ client }: Place, requestId: string): Promise<number> {
  const { events } = await client.workflow.getHandle(requestId).fetchHistory();
  return events?.length ?? 0;
}

/**
 * What one more node adds to the history: the difference of two chains, so that what every pipeline has once
 * is not counted.
 */
async function measureHistory({ atMost }: Bench, there: Place) {
  const [short, long] = [await runPipeline(there, chain(CHAIN)), await runPipeline(there, chain(2 * CHAIN))];
  const [fewer, more] = [await eventsOf(there, short.requestId), await eventsOf(there, long.requestId)];
  const perNode = (more - fewer) / CHAIN;
  atMost("history events per sequential node", perNode, 6);
  return { chain_of_20: fewer, chain_of_40: more, per_node: perNode };
}

async function measureLong({ atLeast }: Bench, there: Place) {
  const { ms, requestId } = await runPipeline(there, chain(LONG));
  const headers = there.headers;
  const answer = await request(`${there.url}/queue/${PIPELINE}/requests/${requestId}`, {
    headers,
    dispatcher: there.agent,
  });
  const { stages } = (await answer.body.json()) as { stages: unknown[] };
  atLeast("nodes of a long pipeline that completes", stages.length, LONG);
  return { nodes: stages.length, ms: round(ms), history_events: await eventsOf(there, requestId) };
}

await runBench(
  "bench:pipeline",
  "Measures what a node of a pipeline adds to a bare Temporal activity.",
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
    const there: Place = { url, agent, headers, client: new Client({ connection, namespace: "tempera" }) };

    const sequential = await measure(bench, there, {
      name: `chain of ${CHAIN}`,
      bare: "bareChain",
      stages: chain(CHAIN),
      calls: CHAIN,
      runs: 6,
    });
    const parallel = await measure(bench, there, {
      name: `fan of ${FAN}`,
      bare: "bareFan",
      stages: fan(FAN),
      calls: FAN,
      runs: 6,
    });
    const history = await measureHistory(bench, there);
    const long = await measureLong(bench, there);
    bench.report({ sequential, parallel, history, long });
  },
);
