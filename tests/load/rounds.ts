/** Timed rounds of jobs: the two sides of a comparison alternate on one server. */
import { randomUUID } from "node:crypto";
import type { Client } from "@temporalio/client";
import { cpuTimes } from "./cpu-time.ts";
import { percentile, round } from "./harness.ts";

export interface Side {
  /** CPU milliseconds by process. */
  cpu: Record<string, number>;
  submitMs: number[];
  /** Each submit less the Temporal start inside it, which the gateway reports in `Server-Timing`. */
  gatewayMs: number[];
  wholeMs: number[];
  jobs: number;
  seconds: number;
}
export const newSide = (): Side => ({
  submitMs: [],
  gatewayMs: [],
  wholeMs: [],
  jobs: 0,
  seconds: 0,
  cpu: {},
});
export const summary = ({ submitMs, gatewayMs, wholeMs, jobs, seconds, cpu }: Side) => ({
  submit_ms: { p50: round(percentile(submitMs, 50)), p99: round(percentile(submitMs, 99)) },
  ...(gatewayMs.length > 0 && {
    gateway_ms: { p50: round(percentile(gatewayMs, 50)), p99: round(percentile(gatewayMs, 99)) },
  }),
  submit_to_output_ms: { p50: round(percentile(wholeMs, 50)), p99: round(percentile(wholeMs, 99)) },
  jobs_per_second: round(jobs / seconds),
  cpu_ms_per_job: Object.fromEntries(Object.entries(cpu).map(([name, ms]) => [name, round(ms / jobs)])),
});

/**
 * Runs one job. `closed` settles when its workflow has ended: a job counts as in flight until then on both
 * sides, so that both keep the same number of workflows open on the server while latencies are measured.
 */
export type Job = () => Promise<{
  submitMs: number;
  gatewayMs?: number;
  wholeMs: number;
  closed?: Promise<unknown> | undefined;
}>;

export async function runRound(
  side: Side | undefined,
  job: Job,
  { inFlight, jobs, processes }: { inFlight: number; jobs: number; processes: Record<string, number> },
): Promise<void> {
  let left = jobs;
  const before = cpuTimes(processes);
  const startedAtMs = performance.now();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (left-- > 0) {
        const { submitMs, gatewayMs, wholeMs, closed } = await job();
        side?.submitMs.push(submitMs);
        if (gatewayMs !== undefined) side?.gatewayMs.push(gatewayMs);
        side?.wholeMs.push(wholeMs);
        await closed;
      }
    }),
  );
  if (!side) return;
  side.jobs += jobs;
  side.seconds += (performance.now() - startedAtMs) / 1000;
  for (const [name, ms] of Object.entries(cpuTimes(processes)))
    side.cpu[name] = (side.cpu[name] ?? 0) + ms - (before[name] ?? 0);
}

/** Starts one bare workflow with a no-op activity and waits for it. */
export const bareJob =
  (client: Client): Job =>
  async () => {
    const startedAtMs = performance.now();
    const handle = await client.workflow.start("bare", {
      taskQueue: "bare",
      workflowId: randomUUID(),
      args: [{}],
    });
    const submitMs = performance.now() - startedAtMs;
    await handle.result();
    return { submitMs, wholeMs: performance.now() - startedAtMs };
  };
