import { CancellationScope, condition, defineSignal, setHandler } from "@temporalio/workflow";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import { SLOT_GRANTED_SIGNAL } from "../core/owners/concurrency-slot-store.ts";
import { type JobSpec, PRIORITY_KEY } from "../core/requests/job.ts";
import { runLocallyOrDurably } from "./durable-local-activity.ts";
import { type FinishedWork, failedOutcome } from "./inference.ts";

const slotGranted = defineSignal(SLOT_GRANTED_SIGNAL);

/**
 * Runs a job's work in one of its owner's concurrency slots, if the owner has a limit, and releases the slot
 * however the work ended. Ends with `startup_timeout` when no slot was granted before the start deadline.
 */
export async function withSlot(job: JobSpec, work: () => Promise<FinishedWork>): Promise<FinishedWork> {
  if (job.place === undefined) return work();
  try {
    if (job.place === "holds" || (await waitForSlot(job))) return await work();
    const error = { code: "startup_timeout" as const, message: CATALOGUE.startup_timeout.message };
    return {
      job,
      outcome: { ok: false, error, metrics: {}, userTimeout: true },
      attempts: 0,
      exhausted: false,
    };
  } catch (error) {
    return { job, outcome: failedOutcome(error), attempts: 0, exhausted: false };
  } finally {
    await CancellationScope.nonCancellable(() => releaseSlot(job));
  }
}

/**
 * Waits for one of the owner's slots; returns false when the start deadline passed first. Only this workflow
 * waits: it occupies no GPU worker and no engine slot. It asks once: a job that releases a slot notifies the
 * next one, and a periodic repair notifies jobs that were missed. `enterPlace` is the recorded name of the
 * activity.
 */
async function waitForSlot(job: JobSpec): Promise<boolean> {
  const { requestId, ownerId, priority, submittedAtMs, startTimeoutMs } = job;
  let granted = false;
  setHandler(slotGranted, () => {
    granted = true;
  });
  const request = { requestId, ownerId, priority: PRIORITY_KEY[priority] };
  const acquired = await runLocallyOrDurably("acquire a concurrency slot", (activities) =>
    activities.enterPlace(request),
  );
  if (acquired || granted) return true;
  if (startTimeoutMs === undefined) {
    await condition(() => granted);
    return true;
  }
  return condition(() => granted, Math.max(1, submittedAtMs + startTimeoutMs - Date.now()));
}

/** Releases the slot, or leaves the queue for one. `leavePlace` is the recorded name of the activity. */
function releaseSlot({ requestId, ownerId }: JobSpec): Promise<void> {
  return runLocallyOrDurably("release a concurrency slot", (activities) =>
    activities.leavePlace({ requestId, ownerId }),
  );
}
