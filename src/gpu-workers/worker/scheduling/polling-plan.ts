/**
 * The rota: which task queues a GPU worker polls when its models do not all fit its memory at once.
 *
 * A poll is a promise to take what comes, so the models that are polled always fit together, and a worker
 * never holds a request that another worker had room for. A model that is not polled gets its turn when
 * requests wait for it (docs/decisions/0016).
 */
import { leaversFor, type Resident } from "../pool/eviction.ts";

export interface QueueState extends Resident {
  /** Out of rotation: not polled at all. */
  out: boolean;
  /** `closing`: takes nothing new and has not come to its end, so its memory may still be in use. */
  polling: "closed" | "open" | "closing";
  running: number;
  /** Since when it is polled. */
  turnSinceMs: number;
  /** Since when requests are known to wait for it, of one that is not polled. */
  waitingSinceMs?: number;
}

export interface Moves<T> {
  open: T[];
  /** Idle, or out of rotation. */
  close: T[];
  /** At work: takes nothing new, finishes what it has, and closes when it is idle. */
  drain: T[];
}

/**
 * @param turnMs how long requests wait behind models that are at work before one of those has to make room
 */
export function nextMoves<T extends QueueState>(
  queues: readonly T[],
  { budgetMiB, turnMs, nowMs }: { budgetMiB: number; turnMs: number; nowMs: number },
): Moves<T> {
  const moves: Moves<T> = {
    open: [],
    close: queues.filter(({ out, polling }) => out && polling === "open"),
    drain: [],
  };
  let freeMiB = budgetMiB;
  for (const { polling, needMiB } of queues) if (polling !== "closed") freeMiB -= needMiB;
  const staying = new Set(queues.filter(({ out, polling }) => polling === "open" && !out));
  const open = (queue: T) => {
    moves.open.push(queue);
    freeMiB -= queue.needMiB;
  };

  const closed = queues.filter(({ out, polling }) => polling === "closed" && !out);
  const waiting = closed
    .filter(({ waitingSinceMs }) => waitingSinceMs !== undefined)
    .sort((a, b) => (a.waitingSinceMs ?? 0) - (b.waitingSinceMs ?? 0));
  let blocked = false;
  for (const queue of waiting) {
    if (queue.needMiB <= freeMiB) {
      open(queue);
      continue;
    }
    blocked = true;
    // Memory of those that are closing already is on its way.
    const comingMiB = queues
      .filter(({ polling }) => polling === "closing")
      .reduce((sum, { needMiB }) => sum + needMiB, freeMiB);
    if (queue.needMiB <= comingMiB) break;
    const idle = leaversFor(
      queue.needMiB,
      comingMiB,
      [...staying].filter(({ running }) => running === 0),
    );
    if (idle) {
      moves.close.push(...idle);
      break;
    }
    if (nowMs - (queue.waitingSinceMs ?? nowMs) < turnMs) continue;
    // Longest turn first. Nobody else comes in before this one.
    const byTurn = [...staying].map((at) => ({
      at,
      needMiB: at.needMiB,
      pinned: false,
      lastUsedMs: at.turnSinceMs,
    }));
    for (const { at } of leaversFor(queue.needMiB, comingMiB, byTurn) ?? [])
      (at.running === 0 ? moves.close : moves.drain).push(at);
    break;
  }
  // Room that nobody waits for goes to whoever fits, so that their next request is taken at once.
  if (!blocked) {
    const rest = closed.filter((queue) => !moves.open.includes(queue));
    for (const queue of rest.sort(
      (a, b) => Number(b.pinned) - Number(a.pinned) || b.lastUsedMs - a.lastUsedMs,
    ))
      if (queue.needMiB <= freeMiB) open(queue);
  }
  return moves;
}
