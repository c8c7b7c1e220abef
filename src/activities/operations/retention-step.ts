import { Context } from "@temporalio/activity";
import { sleep } from "../../core/concurrency/sleep.ts";
import { LIMITS } from "../../core/limits.ts";
import { conservativeClock, steadyClock } from "../../core/operations/clock.ts";
import {
  type DeletedKind,
  KINDS_OF,
  RETENTION_PACE,
  type RetentionPace,
  type RetentionProgress,
} from "../../core/operations/retention.ts";
import { purgeBatch } from "./purge.ts";
import type { PurgeDependencies, PurgedBatch } from "./purge-batches.ts";

/** Interval of the heartbeats: several within the timeout that the workflow sets. */
const HEARTBEAT_MS = 5_000;

export interface RetentionStepOptions {
  pace?: RetentionPace;
  /** Length of a step. */
  stepMs?: number;
  heartbeatMs?: number;
}

/**
 * One step of a sweep: purges batch after batch, with a pause after each, until `stepMs` have passed or the
 * sweep is done. Returns the progress; the workflow starts the next step from there.
 *
 * Each heartbeat carries the progress too: when the orchestrator dies, the next attempt continues there.
 * Rejects with `store_unavailable`; what was deleted until then stays deleted and counted.
 */
export function createRetentionStep({
  pace = RETENTION_PACE,
  stepMs = LIMITS.retentionStepMs,
  heartbeatMs = HEARTBEAT_MS,
  ...dependencies
}: PurgeDependencies & RetentionStepOptions) {
  return async function retentionStep(start: RetentionProgress): Promise<RetentionProgress> {
    const context = Context.current();
    const { cancellationSignal: signal } = context;
    const before = context.info.heartbeatDetails as RetentionProgress | undefined;
    let progress = before?.sweep === start.sweep ? before : start;
    const clock = await conservativeClock(dependencies.clock, dependencies.retention, steadyClock);
    // A batch on a slow object store can take longer than the heartbeat timeout, and would be retried
    // forever.
    const heartbeat = setInterval(() => context.heartbeat(progress), heartbeatMs);
    try {
      const endMs = performance.now() + stepMs;
      const kinds = KINDS_OF[progress.sweep];
      while (performance.now() < endMs) {
        signal.throwIfAborted();
        const kind = kinds[progress.kind];
        if (kind === undefined) return { ...progress, done: true };
        const startedAtMs = performance.now();
        const batch = await purgeBatch({ ...dependencies, clock }, kind, progress.after, pace.batch);
        progress = advance(progress, kind, batch);
        context.heartbeat(progress);
        const tookMs = performance.now() - startedAtMs;
        if (!batch.done || batch.deleted > 0)
          await sleep(Math.max(pace.pauseMsMin, tookMs * pace.pauseFactor), signal);
      }
      return progress;
    } finally {
      clearInterval(heartbeat);
    }
  };
}

/** Adds a batch to the progress of a sweep. */
function advance(
  progress: RetentionProgress,
  kind: DeletedKind,
  { deleted, after, done }: PurgedBatch,
): RetentionProgress {
  const { after: _, ...rest } = progress;
  const total = (progress.deleted[kind] ?? 0) + deleted;
  return {
    ...rest,
    ...(done ? { kind: progress.kind + 1 } : after !== undefined && { after }),
    deleted: { ...progress.deleted, ...(deleted > 0 && { [kind]: total }) },
  };
}
