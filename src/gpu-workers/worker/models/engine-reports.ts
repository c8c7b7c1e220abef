/**
 * Says on the board how this worker's engines are, when one comes, goes or fails, and as a sign of life;
 * takes what operators ask for. How many requests they have in hand changes with every one of them, and rides
 * on the sign of life.
 */
import type { EngineStatus, WorkerStatus } from "../../../core/engines/engine-status.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { Drained, EngineBoard } from "../../../core/engines/engine-status-store.ts";

export interface EngineReportsDependencies {
  board: EngineBoard;
  worker: WorkerStatus;
  list: () => EngineStatus[];
  reset: (model: Pick<ModelVersion, "endpoint" | "version">) => void;
  /** Called with what operators want no new requests of to be taken, each time anew. */
  drain: (drained: Drained) => void;
  /**
   * A board that cannot be reached changes nothing for requests: it is told once, and once when it is back.
   */
  log: (level: "INFO" | "WARN", message: string) => void;
}

export interface EngineReports extends AsyncDisposable {
  /**
   * Something may have changed: if it has, it is reported soon, together with what else changes meanwhile.
   */
  changed(): void;
}

/** Resolves when the first report is written, or could not be. */
export async function startEngineReports({
  board,
  worker,
  list,
  reset,
  drain,
  log,
}: EngineReportsDependencies): Promise<EngineReports> {
  let away = false;
  let stopped = false;
  let soon: NodeJS.Timeout | undefined;
  let working: Promise<void> = Promise.resolve();
  let told = "";

  const report = async (): Promise<void> => {
    if (stopped) return;
    try {
      for (const model of await board.takeResets(worker.worker)) reset(model);
      drain(await board.drained(worker.worker));
      const engines = list();
      told = standing(engines);
      await board.report(worker, engines);
      if (away) log("INFO", "engines are reported again");
      away = false;
    } catch (error) {
      if (!away)
        log("WARN", `engines cannot be reported: ${error instanceof Error ? error.message : String(error)}`);
      away = true;
    }
  };
  /** One after the other: an older report must not arrive after a newer one. */
  const enqueue = (): Promise<void> => {
    clearTimeout(soon);
    soon = undefined;
    working = working.then(report);
    return working;
  };

  const unlisten = await board.onReset(worker.worker, () => void enqueue()).catch(() => async () => {});
  const beating = setInterval(enqueue, LIMITS.engineReportMs);
  await enqueue();
  return {
    changed() {
      if (!stopped && !soon && standing(list()) !== told)
        soon = setTimeout(enqueue, LIMITS.engineReportGatherMs);
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      clearInterval(beating);
      clearTimeout(soon);
      await working;
      await unlisten().catch(() => {});
      await board.leave(worker.worker).catch(() => {});
    },
  };
}

/** All that is reported but the counts of requests. */
const standing = (engines: readonly EngineStatus[]): string =>
  JSON.stringify(engines.map(({ running: _, waiting: __, ...rest }) => rest));
