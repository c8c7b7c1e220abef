import { CancellationScope, condition, defineSignal, setHandler } from "@temporalio/workflow";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import { type JobSpec, PRIORITY_KEY } from "../core/requests/job.ts";
import { PLACE_SIGNAL } from "../core/owners/concurrency-slot.ts";
import { type Ended, failedOutcome } from "./inference.ts";
import { untilDone } from "./durable-local-activity.ts";

/** Told when the job's turn has come. */
const placeGranted = defineSignal(PLACE_SIGNAL);

/** How a job's work ended, as its finish step is told. */
type Worked = Ended & { recorded?: boolean };

/**
 * Carries a job out in one of its owner's places, where it needs one, and leaves that whatever came of it.
 */
export async function inPlace(job: JobSpec, carryOut: () => Promise<Worked>): Promise<Worked> {
  if (job.place === undefined) return carryOut();
  try {
    if (job.place === "holds" || (await waitForPlace(job))) return await carryOut();
    const error = { code: "startup_timeout" as const, message: CATALOGUE.startup_timeout.says };
    return {
      job,
      outcome: { ok: false, error, metrics: {}, userTimeout: true },
      attempts: 0,
      exhausted: false,
    };
  } catch (error) {
    return { job, outcome: failedOutcome(error), attempts: 0, exhausted: false };
  } finally {
    await CancellationScope.nonCancellable(() => leavePlace(job));
  }
}

/**
 * Waits for one of the owner's places, as long as the start deadline allows; false when that has passed.
 * Nothing but this workflow waits: no worker and no engine's slot. Nobody has to ask again: whoever leaves a
 * place tells the next, and a sweep tells those who were not.
 */
async function waitForPlace({
  requestId,
  ownerId,
  priority,
  submittedAtMs,
  startTimeoutMs,
}: JobSpec): Promise<boolean> {
  let granted = false;
  setHandler(placeGranted, () => {
    granted = true;
  });
  const seeker = { requestId, ownerId, priority: PRIORITY_KEY[priority] };
  const entered = await untilDone("ask for a place", (activities) => activities.enterPlace(seeker));
  if (entered || granted) return true;
  if (startTimeoutMs === undefined) {
    await condition(() => granted);
    return true;
  }
  return condition(() => granted, Math.max(1, submittedAtMs + startTimeoutMs - Date.now()));
}

/** Gives the place, or the turn in the line, back. */
const leavePlace = ({ requestId, ownerId }: JobSpec): Promise<void> =>
  untilDone("leave a place", (activities) => activities.leavePlace({ requestId, ownerId }));
