import { setTimeout as pause } from "node:timers/promises";
import { Context } from "@temporalio/activity";
import { LIMITS } from "../../core/limits.ts";
import { conservativeClock, steadyClock } from "../../core/operations/clock.ts";
import {
  KINDS_OF,
  RETENTION_PACE,
  type RetentionPace,
  type RetentionProgress,
} from "../../core/operations/retention.ts";
import { type PurgeDependencies, purgeBatch } from "./purge.ts";

/** How often it says that it is there: several times within the heartbeat that its workflow expects. */
const BEAT_MS = 5_000;

/**
 * One step of a sweep: batch after batch, a pause behind each, until a while has passed or the sweep is
 * through. Returns how far it is; its workflow asks for the next step from there.
 *
 * How far it is goes into each heartbeat too: an attempt whose orchestrator died is followed by one that goes
 * on from there. Rejects with `store_unavailable`; what was deleted until then stays deleted and counted.
 */
export const createRetentionStep = ({
  pace = RETENTION_PACE,
  stepMs = LIMITS.retentionStepMs,
  beatMs = BEAT_MS,
  ...deps
}: PurgeDependencies & { pace?: RetentionPace; stepMs?: number; beatMs?: number }) =>
  async function retentionStep(given: RetentionProgress): Promise<RetentionProgress> {
    const context = Context.current();
    const { cancellationSignal: signal } = context;
    const before = context.info.heartbeatDetails as RetentionProgress | undefined;
    let progress = before?.sweep === given.sweep ? before : given;
    const timed = { ...deps, clock: await conservativeClock(deps.clock, deps.retention, steadyClock) };
    // A batch of a slow object store takes longer than a heartbeat may: it would be begun again and again.
    const beating = setInterval(() => context.heartbeat(progress), beatMs);
    try {
      const untilMs = performance.now() + stepMs;
      const kinds = KINDS_OF[progress.sweep];
      while (performance.now() < untilMs) {
        signal.throwIfAborted();
        const kind = kinds[progress.kind];
        if (kind === undefined) return { ...progress, done: true };
        const startedAtMs = performance.now();
        const { deleted, after, through } = await purgeBatch(timed, kind, progress.after, pace.batch);
        const { after: _, ...rest } = progress;
        progress = {
          ...rest,
          ...(through ? { kind: progress.kind + 1 } : after !== undefined && { after }),
          deleted: {
            ...progress.deleted,
            ...(deleted > 0 && { [kind]: (progress.deleted[kind] ?? 0) + deleted }),
          },
        };
        context.heartbeat(progress);
        const tookMs = performance.now() - startedAtMs;
        if (!through || deleted > 0)
          await pause(Math.max(pace.pauseMsMin, tookMs * pace.pauseFactor), undefined, { signal });
      }
      return progress;
    } finally {
      clearInterval(beating);
    }
  };
