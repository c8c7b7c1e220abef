import { condition, defineSignal, proxyActivities, proxyLocalActivities, setHandler } from "@temporalio/workflow";
import type { OrchestratorActivities } from "../activities/index.ts";
import { type JobSpec, ORCHESTRATOR_QUEUE, PRIORITY_KEY } from "../core/job.ts";
import { PLACE_SIGNAL } from "../core/place.ts";

/** Told when the job's turn has come. */
const placeGranted = defineSignal(PLACE_SIGNAL);

const TRIES = { startToCloseTimeout: "5s", retry: { maximumAttempts: 2, initialInterval: "100ms" } } as const;
/** While Postgres is away: until it is back. */
const DURABLE = {
  taskQueue: ORCHESTRATOR_QUEUE,
  startToCloseTimeout: "30s",
  retry: { initialInterval: "500ms", backoffCoefficient: 1.5, maximumInterval: "10s" },
} as const;

/**
 * Waits for one of the owner's places, as long as the start deadline allows; false when that has passed. Nothing but this workflow
 * waits: no worker and no engine's slot. Nobody has to ask again: whoever leaves a place tells the next, and a sweep tells those who
 * were not.
 */
export async function waitForPlace({ requestId, ownerId, priority, submittedAtMs, startTimeoutMs }: JobSpec): Promise<boolean> {
  let granted = false;
  setHandler(placeGranted, () => {
    granted = true;
  });
  const seeker = { requestId, ownerId, priority: PRIORITY_KEY[priority] };
  const entered = await proxyLocalActivities<OrchestratorActivities>(TRIES)
    .enterPlace(seeker)
    .catch(() => proxyActivities<OrchestratorActivities>({ ...DURABLE, summary: "ask for a place (stores were away)" }).enterPlace(seeker));
  if (entered || granted) return true;
  if (startTimeoutMs === undefined) {
    await condition(() => granted);
    return true;
  }
  return condition(() => granted, Math.max(1, submittedAtMs + startTimeoutMs - Date.now()));
}

/** Gives the place, or the turn in the line, back. */
export async function leavePlace({ requestId, ownerId }: JobSpec): Promise<void> {
  const left = { requestId, ownerId };
  await proxyLocalActivities<OrchestratorActivities>(TRIES)
    .leavePlace(left)
    .catch(() => proxyActivities<OrchestratorActivities>({ ...DURABLE, summary: "leave a place (stores were away)" }).leavePlace(left));
}
