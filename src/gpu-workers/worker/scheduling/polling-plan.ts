/**
 * The polling plan: which task queues a GPU worker polls when its models do not all fit its memory at once.
 *
 * A poll is a promise to take what comes. The models that are polled therefore always fit together, and a
 * worker never holds a request for which another worker had memory. A model that is not polled gets memory
 * when requests wait for it (docs/decisions/0016).
 */
import { evictionCandidates, type Resident } from "../pool/eviction.ts";

export interface QueueState extends Resident {
  /** Not polled at all: its model is unhealthy, drained by an operator, or being removed. */
  unavailable: boolean;
  /** `closing`: takes nothing new but has not ended yet, so its memory may still be in use. */
  polling: "closed" | "open" | "closing";
  /** Requests in progress. */
  running: number;
  /** Since when it is polled. */
  openSinceMs: number;
  /** Since when requests are known to wait for a queue that is not polled. */
  waitingSinceMs?: number;
}

export interface PollingPlan<T> {
  open: T[];
  /** Idle or unavailable queues. */
  close: T[];
  /** Busy queues: they take nothing new, finish what they have, and close when they are idle. */
  drain: T[];
}

export interface PlanOptions {
  budgetMiB: number;
  /** Longest time that requests wait behind busy models before one of those has to make room. */
  waitMaxMs: number;
  nowMs: number;
}

/**
 * Plans the next changes of polling:
 *
 * 1. Unavailable queues close.
 * 2. Queues with waiting requests open, the longest wait first. When one does not fit, idle queues close for
 *    it; after `waitMaxMs` busy ones drain for it. While memory is being freed for a queue, none after it
 *    opens.
 * 3. Memory that no request waits for goes to the other closed queues, so that their next request is taken at
 *    once.
 */
export function planPolling<T extends QueueState>(
  queues: readonly T[],
  options: PlanOptions,
): PollingPlan<T> {
  const plan: PollingPlan<T> = {
    open: [],
    close: queues.filter(({ unavailable, polling }) => unavailable && polling === "open"),
    drain: [],
  };
  let freeMiB = options.budgetMiB - memoryOf(queues.filter(({ polling }) => polling !== "closed"));
  const open = (queue: T): void => {
    plan.open.push(queue);
    freeMiB -= queue.needMiB;
  };

  const closed = queues.filter(({ unavailable, polling }) => polling === "closed" && !unavailable);
  let isBlocked = false;
  for (const queue of longestWaitFirst(closed)) {
    if (queue.needMiB <= freeMiB) {
      open(queue);
      continue;
    }
    isBlocked = true;
    if (freeMemoryFor(queue, queues, freeMiB, options, plan)) break;
  }
  if (!isBlocked)
    for (const queue of mostValuableFirst(closed.filter((each) => !plan.open.includes(each))))
      if (queue.needMiB <= freeMiB) open(queue);
  return plan;
}

/**
 * Adds to the plan what has to close or drain so that the waiting queue fits.
 *
 * @returns false when the queue has to wait longer, and others may open before it
 */
function freeMemoryFor<T extends QueueState>(
  queue: T,
  queues: readonly T[],
  freeMiB: number,
  { waitMaxMs, nowMs }: PlanOptions,
  plan: PollingPlan<T>,
): boolean {
  // The memory of queues that are closing already becomes free soon.
  const expectedMiB = freeMiB + memoryOf(queues.filter(({ polling }) => polling === "closing"));
  if (queue.needMiB <= expectedMiB) return true;

  const polled = queues.filter(({ polling, unavailable }) => polling === "open" && !unavailable);
  const idle = polled.filter(({ running }) => running === 0);
  const idleEnough = evictionCandidates(queue.needMiB, expectedMiB, idle);
  if (idleEnough) {
    plan.close.push(...idleEnough);
    return true;
  }
  if (nowMs - (queue.waitingSinceMs ?? nowMs) < waitMaxMs) return false;

  // The queue that has been polled longest makes room first, pinned or not.
  const byAge = polled.map((candidate) => ({
    candidate,
    needMiB: candidate.needMiB,
    pinned: false,
    lastUsedMs: candidate.openSinceMs,
  }));
  for (const { candidate } of evictionCandidates(queue.needMiB, expectedMiB, byAge) ?? [])
    (candidate.running === 0 ? plan.close : plan.drain).push(candidate);
  return true;
}

function memoryOf(queues: readonly QueueState[]): number {
  return queues.reduce((sum, { needMiB }) => sum + needMiB, 0);
}

function longestWaitFirst<T extends QueueState>(closed: readonly T[]): T[] {
  return closed
    .filter(({ waitingSinceMs }) => waitingSinceMs !== undefined)
    .sort((a, b) => (a.waitingSinceMs ?? 0) - (b.waitingSinceMs ?? 0));
}

function mostValuableFirst<T extends QueueState>(closed: readonly T[]): T[] {
  return [...closed].sort((a, b) => Number(b.pinned) - Number(a.pinned) || b.lastUsedMs - a.lastUsedMs);
}
