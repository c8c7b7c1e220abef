import type { Log } from "../../core/operations/log.ts";

const METHODS = { DEBUG: "debug", INFO: "info", WARN: "warn", ERROR: "error" } as const;

/**
 * The subject of a GPU worker's log line. A model version may be given whole; only these fields are logged.
 */
interface Subject {
  endpoint?: string;
  version?: string;
  /** The engine's process. It is logged as `enginePid`, since `pid` is the GPU worker's own. */
  pid?: number;
}

export type WorkerLog = (level: keyof typeof METHODS, message: string, about?: Subject) => void;

/** Makes the log of a GPU worker's parts: each line names the model version, and the engine's process. */
export function createWorkerLog(log: Log): WorkerLog {
  return (level, message, { endpoint, version, pid } = {}) => {
    const about = {
      ...(endpoint && { endpoint }),
      ...(version && { version }),
      ...(pid && { enginePid: pid }),
    };
    log[METHODS[level]](about, message);
  };
}
