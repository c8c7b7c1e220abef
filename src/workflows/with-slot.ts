import { CancellationScope, condition, defineSignal, setHandler } from "@temporalio/workflow";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import { SLOT_GRANTED_SIGNAL } from "../core/owners/concurrency-slot-store.ts";
import { type JobSpec, PRIORITY_KEY } from "../core/requests/job.ts";
import { runLocallyOrDurably } from "./durable-local-activity.ts";
import { type FinishedWork, failedOutcome } from "./inference.ts";

/** Tells a workflow that it was granted a slot, or that its node was. */
export const slotGranted = defineSignal<[node?: string]>(SLOT_GRANTED_SIGNAL);

/** Tells whether the owner of a job has a limited number of concurrency slots. */
export function needsSlot(job: JobSpec): boolean {
  return job.place !== undefined;
}

/**
 * Runs a job's work in one of its owner's concurrency slots, if the owner has a limit, and releases the slot
 * however the work ended. Ends with `startup_timeout` when no slot was granted before the start deadline.
 */
export async function withSlot(job: JobSpec, work: () => Promise<FinishedWork>): Promise<FinishedWork> {
  if (!needsSlot(job)) return work();
  try {
    return job.place === "holds" || (await waitForSlot(job)) ? await work() : notStarted(job);
  } catch (error) {
    return { job, outcome: failedOutcome(error), attempts: 0, exhausted: false };
  } finally {
    await CancellationScope.nonCancellable(() => releaseSlot(job));
  }
}

/** The end of a job that was granted no slot before its start deadline. */
export function notStarted(job: JobSpec): FinishedWork {
  const error = { code: "startup_timeout" as const, message: CATALOGUE.startup_timeout.message };
  return {
    job,
    outcome: { ok: false, error, metrics: {}, userTimeout: true },
    attempts: 0,
    exhausted: false,
  };
}

/**
 * Waits for one of the owner's slots; returns false when the start deadline passed first. Only this workflow
 * waits: it occupies no GPU worker and no engine slot. It asks once: a job that releases a slot notifies the
 * next one, and a periodic repair notifies jobs that were missed.
 */
async function waitForSlot(job: JobSpec): Promise<boolean> {
  let granted = false;
  setHandler(slotGranted, () => {
    granted = true;
  });
  const acquired = await acquireSlot(job);
  return acquired || waitForGrant(job, () => granted);
}

/** Waits until `isGranted`; returns false when the job's start deadline passed first. */
export async function waitForGrant(
  { submittedAtMs, startTimeoutMs }: JobSpec,
  isGranted: () => boolean,
): Promise<boolean> {
  if (isGranted()) return true;
  if (startTimeoutMs === undefined) {
    await condition(isGranted);
    return true;
  }
  return condition(isGranted, Math.max(1, submittedAtMs + startTimeoutMs - Date.now()));
}

/**
 * Acquires a slot, or joins the queue for one and returns false. `enterPlace` is the recorded name of the
 * activity.
 *
 * @param workflowId the workflow to notify, where that is not the job's own
 */
export function acquireSlot({
  requestId,
  ownerId,
  priority,
  workflowId,
}: JobSpec & { workflowId?: string }): Promise<boolean> {
  const request = {
    requestId,
    ownerId,
    priority: PRIORITY_KEY[priority],
    ...(workflowId !== undefined && { workflowId }),
  };
  return runLocallyOrDurably("acquire a concurrency slot", (activities) => activities.enterPlace(request));
}

/** Releases the slot, or leaves the queue for one. `leavePlace` is the recorded name of the activity. */
export function releaseSlot({ requestId, ownerId }: JobSpec): Promise<void> {
  return runLocallyOrDurably("release a concurrency slot", (activities) =>
    activities.leavePlace({ requestId, ownerId }),
  );
}
