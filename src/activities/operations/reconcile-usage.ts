import { Context } from "@temporalio/activity";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { UsageCheck, UsageLedger } from "../../core/owners/usage-ledger.ts";
import type { ClosedJob, ClosedJobs } from "../../core/requests/closed-jobs.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";

export interface ReconcileUsageDependencies {
  ledger: UsageLedger;
  closedJobs: ClosedJobs;
  jobs: Pick<Jobs, "outcome">;
  requests: Pick<RequestStore, "finish">;
  clock: Clock;
}

/** Workflows, or requests, that are compared at once. */
const PAGE = 500;

const UNWRITABLE = "Temporal has closed it, and its record could not be written.";
const LEDGER_HAS_ERROR = "Temporal reports an output; the ledger has an error.";
const LEDGER_HAS_OUTPUT = "Temporal reports a failure; the ledger has an output.";

/**
 * Compares the usage ledger with Temporal and with the records of requests, for the requests that ended
 * within a window.
 *
 * Missing entries are written: from the record if there is one (a node of a pipeline has a record and no
 * workflow), otherwise from the workflow, together with its record. Contradictions are only reported, for a
 * person to decide. Stores the result and returns it.
 */
export function createReconcileUsage(dependencies: ReconcileUsageDependencies) {
  const { ledger, closedJobs, clock } = dependencies;
  return async function reconcileUsage({
    fromMs,
    untilMs,
  }: {
    fromMs: number;
    untilMs: number;
  }): Promise<UsageCheck> {
    const context = Context.current();
    const check: UsageCheck = {
      checkedAtMs: 0,
      fromMs,
      untilMs,
      workflows: 0,
      written: 0,
      differences: [],
    };
    for (;;) {
      const found = await ledger.writeMissing({ fromMs, untilMs }, PAGE);
      check.written += found.length;
      context.heartbeat();
      if (found.length < PAGE) break;
    }
    for await (const page of closedJobs.list({ fromMs, untilMs }, PAGE)) {
      await comparePage(dependencies, page, check);
      context.heartbeat();
    }
    check.checkedAtMs = clock.nowMs();
    await ledger.recordCheck(check);
    return check;
  };
}

/** Compares one page of closed workflows with the ledger, and adds what it finds to the check. */
async function comparePage(
  dependencies: ReconcileUsageDependencies,
  page: ClosedJob[],
  check: UsageCheck,
): Promise<void> {
  const entries = await dependencies.ledger.known(page.map(({ requestId }) => requestId));
  check.workflows += page.length;
  for (const job of page) {
    const { requestId, ok } = job;
    const entry = entries.get(requestId);
    if (entry === ok) continue;
    if (entry !== undefined) addDifference(check, requestId, ok ? LEDGER_HAS_ERROR : LEDGER_HAS_OUTPUT);
    else {
      const written = await writeFromWorkflow(dependencies, job);
      if (written) check.written++;
      else if (written === false) addDifference(check, requestId, UNWRITABLE);
    }
  }
}

/**
 * Writes the record and the entry of a workflow. Returns whether the ledger has the entry now, and
 * `undefined` for a workflow that Temporal's retention has deleted meanwhile.
 */
async function writeFromWorkflow(
  { ledger, closedJobs, jobs, requests }: ReconcileUsageDependencies,
  { requestId, closedAtMs }: ClosedJob,
): Promise<boolean | undefined> {
  const started = await closedJobs.started(requestId);
  const outcome = await jobs.outcome(requestId);
  if (!started || !outcome) return undefined;
  // The outcome does not contain the number of attempts: one, so that nothing is billed that was not made.
  await requests.finish({ job: started.job, outcome, attempts: 1, endedAtMs: closedAtMs, logs: [] });
  return (await ledger.known([requestId])).has(requestId);
}

function addDifference({ differences }: UsageCheck, requestId: string, description: string): void {
  if (differences.length < LIMITS.usageDifferencesMax) differences.push({ requestId, description });
}
