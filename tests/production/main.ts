/**
 * `npm run test:production`: stands the platform up in its production shape, submits jobs as real clients do,
 * makes faults, and judges what clients saw against what the stores have at the end. `--help` lists the
 * options.
 */
import { setMaxListeners } from "node:events";
import { writeFileSync } from "node:fs";
import { sleep } from "../../src/core/concurrency/sleep.ts";
import { SetupError } from "../../src/dev/setup-error.ts";
import { Ledger } from "./checker/ledger.ts";
import { judge, type Violation } from "./checker/rules.ts";
import { openWorkflows, readStores } from "./checker/stores.ts";
import { faultsOf } from "./faults/catalogue.ts";
import { runRounds } from "./faults/rounds.ts";
import { createClient } from "./load/client.ts";
import { planJobs, planProbe } from "./load/plan.ts";
import { playJob, type Stage } from "./load/play.ts";
import { startReceiver } from "./load/receiver.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { createRandom } from "./random.ts";
import { AT_THE_END, type Report, reportOf, reportText } from "./report.ts";
import { type Stack, startStack } from "./stack/stack.ts";
import { buildTemporal, findTemporalBuild, NOT_BUILT, type TemporalBuild } from "./stack/temporal-build.ts";

/** Longest time for the clients to see the ends of their jobs after the last fault, in milliseconds. */
const FINISH_WITHIN_MS = 120_000;
/** Longest time for the last webhooks and workflows after that. */
const SETTLE_WITHIN_MS = 60_000;
const PROBE_WITHIN_MS = 60_000;
const PROBE_EVERY_MS = 100;
/** A probe that takes longer is named in the log. */
const SLOW_MS = 3_000;
const BASELINE_PROBES = 8;
/** Probes are numbered from here on. */
const PROBE_NUMBERS = 1_000_000;
const FINAL_READS_AT_ONCE = 8;

const startedMs = performance.now();
const log = (line: string): void => {
  const atSeconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stderr.write(`${atSeconds.padStart(6)} s  ${line}\n`);
};

process.exitCode = await main(process.argv.slice(2));
// Connections that a killed process left open must not keep this one alive.
process.exit();

async function main(args: string[]): Promise<number> {
  let options: Options | "help";
  try {
    options = readOptions(args);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}`);
    return 1;
  }
  if (options === "help") {
    process.stdout.write(USAGE);
    return 0;
  }
  try {
    const build = options.build ? await buildTemporal(log) : await findTemporalBuild();
    if (options.build) return 0;
    if (build) return await run(options, build);
    process.stderr.write(`${options.ifBuilt ? "left out: " : ""}${NOT_BUILT}\n`);
    return options.ifBuilt ? 0 : 1;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`${error.message}\n`);
    return 1;
  }
}

/** Runs and reports. The logs stay when something was violated. */
async function run(options: Options, build: TemporalBuild): Promise<number> {
  log(`seed ${options.seed}: ${options.jobs} jobs, ${options.faults} faults, Temporal ${build.version}`);
  const over = new AbortController();
  // Every client that waits listens.
  setMaxListeners(0, over.signal);
  const starting = startStack(build, log, over.signal);
  stopOnSignal(starting, over);
  const stack = await starting;
  try {
    log(`the stack is up; its logs are in ${stack.folder}/logs`);
    const report = await test(stack, options, over);
    const isRight = report.checks.every(({ pass }) => pass);
    process.stderr.write(`${reportText(report)}\n`);
    writeReport(options, report);
    if (isRight && !options.keep) await stack[Symbol.asyncDispose]();
    else log(`the logs are in ${stack.folder}/logs`);
    return options.check && !isRight ? 1 : 0;
  } finally {
    await stack.stop();
  }
}

/** Stops the stack on the first signal, also while it starts, and ends this process. */
function stopOnSignal(starting: Promise<Stack>, over: AbortController): void {
  let isStopping = false;
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(name, async () => {
      if (isStopping) return;
      isStopping = true;
      over.abort(new Error(name));
      log(`${name}: stopping`);
      await starting.then((stack) => stack[Symbol.asyncDispose]()).catch(() => {});
      process.exit(130);
    });
  }
}

function writeReport({ json }: Options, report: Report): void {
  if (json === undefined) return;
  const text = `${JSON.stringify(report, undefined, 1)}\n`;
  if (json === "-") process.stdout.write(text);
  else writeFileSync(json, text);
}

/** Plays the jobs through the faults, waits until all is quiet, stops the roles, and judges. */
async function test(stack: Stack, options: Options, over: AbortController): Promise<Report> {
  const { seed, jobs, faults, overlap } = options;
  const ledger = new Ledger();
  ledger.jobs.push(...planJobs(createRandom(seed), jobs));
  await using receiver = await startReceiver(ledger, stack.gateways);
  const { gateways } = stack;
  const client = createClient(gateways, stack.key, ledger);
  const stage = { client, receiver, ledger, gateways, random: createRandom(seed + 1), over: over.signal };
  const baselineMs: number[] = [];
  for (let each = 0; each < BASELINE_PROBES; each++) baselineMs.push((await probe(stage)) ?? PROBE_WITHIN_MS);
  log(`probes take ${baselineMs.map((ms) => ms.toFixed()).join(", ")} ms`);

  const playing = await runRounds({
    ...{ ledger, count: faults, jobs, overlap, log },
    random: createRandom(seed + 2),
    faults: faultsOf(stack).filter(({ name }) => name.includes(options.only)),
    play: (number) => playJob(stage, ledger.jobs[number] as (typeof ledger.jobs)[0]),
    probe: () => probe(stage),
    over: over.signal,
    untilMs: performance.now() + options.minutes * 60_000,
  });
  log(`the faults are over; ${ledger.accepted.size} jobs are accepted`);
  const isFinished = await Promise.race([
    Promise.all(playing).then(() => true),
    sleep(FINISH_WITHIN_MS).then(() => false),
  ]);
  if (!isFinished) over.abort(new Error("the time of the run is over"));
  await readAgain(stage);
  await settle(stack, ledger);
  const stores = await readStores(stack);
  const leftOpen = await openWorkflows(stack.temporalAddress);
  const exits = [...stack.exits];
  await Promise.all(stack.roles.map((role) => role.end("SIGTERM")));
  const orphans = await stack.engines();
  const violations: Violation[] = [
    ...judge({ ledger, stores }),
    ...leftOpen.map((requestId) => ({ rule: AT_THE_END[0], requestId, text: "its workflow runs" })),
    ...orphans.map(({ pid }) => ({ rule: AT_THE_END[1], text: `engine ${pid} outlived its worker` })),
  ];
  const seconds = (performance.now() - startedMs) / 1000;
  return reportOf({ seed, planned: { jobs, faults }, ledger, violations, exits, baselineMs, seconds });
}

/** Submits a new job and reads its result. Resolves with the time that took. */
async function probe({ client, ledger, over }: Stage): Promise<number | undefined> {
  const number = PROBE_NUMBERS + ledger.jobs.length;
  const { endpoint, input, key = "", ...plan } = planProbe(number);
  ledger.jobs.push({ endpoint, input, key, ...plan });
  const startMs = performance.now();
  let requestId: string | undefined;
  let acceptedMs = 0;
  for (let turn = 0; performance.now() - startMs < PROBE_WITHIN_MS && !over.aborted; turn++) {
    if (turn > 0) await sleep(PROBE_EVERY_MS);
    const gateway = turn % 2;
    if (requestId === undefined) {
      const request = { job: number, tryNumber: turn, isFirst: false, gateway, endpoint, input, key };
      const submitted = await client.submit(request);
      if (submitted.status === 200) requestId = submitted.requestId;
      acceptedMs = performance.now() - startMs;
    } else {
      const { seen } = await client.status(gateway, endpoint, requestId);
      const { read } = seen === "ended" ? await client.result(gateway, endpoint, requestId) : {};
      if (read?.end !== "ok") continue;
      const tookMs = performance.now() - startMs;
      if (tookMs > SLOW_MS)
        log(`probe ${requestId} was slow; it was accepted after ${acceptedMs.toFixed()} ms`);
      return tookMs;
    }
  }
  return undefined;
}

/** Reads every accepted request once more, at both gateways. */
async function readAgain({ client, ledger }: Stage): Promise<void> {
  const jobs = new Map(ledger.jobs.map((job) => [job.number, job]));
  const left = [...ledger.accepted].flatMap(([job, ids]) =>
    [...ids].map((requestId) => ({ requestId, endpoint: jobs.get(job)?.endpoint ?? "" })),
  );
  const next = async (): Promise<void> => {
    for (let each = left.pop(); each; each = left.pop()) {
      for (const gateway of [0, 1]) {
        await client.status(gateway, each.endpoint, each.requestId);
        await client.result(gateway, each.endpoint, each.requestId);
      }
    }
  };
  await Promise.all(Array.from({ length: FINAL_READS_AT_ONCE }, next));
}

/** Waits until every webhook has arrived and no workflow is open, for a limited time. */
async function settle(stack: Stack, ledger: Ledger): Promise<void> {
  const jobs = new Map(ledger.jobs.map((job) => [job.number, job]));
  const wanted = [...ledger.accepted].flatMap(([job, ids]) => (jobs.get(job)?.hasWebhook ? [...ids] : []));
  for (const endMs = performance.now() + SETTLE_WITHIN_MS; performance.now() < endMs; await sleep(500)) {
    const arrived = new Set(ledger.webhooks.map(({ requestId }) => requestId));
    const isQuiet =
      wanted.every((requestId) => arrived.has(requestId)) &&
      (await openWorkflows(stack.temporalAddress)).length === 0;
    if (isQuiet) return;
  }
}
