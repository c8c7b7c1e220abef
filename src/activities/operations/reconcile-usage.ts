import { Context } from "@temporalio/activity";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { UsageCheck, UsageLedger } from "../../core/owners/usage-ledger.ts";
import type { ClosedJobs } from "../../core/requests/closed-jobs.ts";
import type { Jobs } from "../../core/requests/jobs.ts";
import type { RequestStore } from "../../core/requests/request-store.ts";

export interface ReconcileUsageDependencies {
  ledger: UsageLedger;
  closedJobs: ClosedJobs;
  jobs: Pick<Jobs, "outcome">;
  requests: Pick<RequestStore, "finish">;
  clock: Clock;
}

/** Workflows, or requests, compared at a time. */
const PAGE = 500;

/**
 * Looks at the usage ledger beside Temporal and beside the records of requests, for those that ended within a
 * window.
 *
 * What is missing is written: from the record where there is one (a node of a pipeline has one and no
 * workflow), else from the workflow, with its record. What does not agree is told and left: a person decides.
 * Returns and keeps what was found.
 */
export const createReconcileUsage = ({
  ledger,
  closedJobs,
  jobs,
  requests,
  clock,
}: ReconcileUsageDependencies) =>
  async function reconcileUsage({
    fromMs,
    untilMs,
  }: {
    fromMs: number;
    untilMs: number;
  }): Promise<UsageCheck> {
    const context = Context.current();
    const differences: UsageCheck["differences"] = [];
    const differs = (requestId: string, description: string): void => {
      if (differences.length < LIMITS.usageDifferencesMax) differences.push({ requestId, description });
    };
    let workflows = 0;
    let written = 0;
    for (;;) {
      const found = await ledger.writeMissing({ fromMs, untilMs }, PAGE);
      written += found.length;
      context.heartbeat();
      if (found.length < PAGE) break;
    }
    for await (const page of closedJobs.list({ fromMs, untilMs }, PAGE)) {
      workflows += page.length;
      const known = await ledger.known(page.map(({ requestId }) => requestId));
      for (const { requestId, ok, closedAtMs } of page) {
        const entered = known.get(requestId);
        if (entered === undefined) {
          const started = await closedJobs.started(requestId);
          const outcome = await jobs.outcome(requestId);
          // Temporal forgot it between the two: its retention is over.
          if (!started || !outcome) continue;
          // How often it was tried is not in the outcome: once, so that nothing is billed that was not made.
          await requests.finish({ job: started.job, outcome, attempts: 1, endedAtMs: closedAtMs, logs: [] });
          if ((await ledger.known([requestId])).has(requestId)) written++;
          else differs(requestId, "Temporal has closed it, and its record could not be written.");
        } else if (entered !== ok) {
          differs(
            requestId,
            ok
              ? "Temporal says it gave an output; the ledger has an error."
              : "Temporal says it failed; the ledger has an output.",
          );
        }
      }
      context.heartbeat();
    }
    const check: UsageCheck = {
      checkedAtMs: clock.nowMs(),
      fromMs,
      untilMs,
      workflows,
      written,
      differences,
    };
    await ledger.recordCheck(check);
    return check;
  };
