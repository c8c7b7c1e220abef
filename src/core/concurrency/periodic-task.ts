import { setTimeout as sleep } from "node:timers/promises";
import { errorInfo, isTemperaError } from "../errors/tempera-error.ts";
import type { Log } from "../operations/log.ts";

/** A sweep with much before it goes on where it was, in the next process. */
const STOP_MS = 2_000;

/**
 * Does a piece of work every so often, never twice at once, until the returned function is called, which
 * resolves when what was being done then has ended, or has had `STOP_MS` to. A store that is away is waited
 * for.
 *
 * @param otherwise what the log says of a time that it was not done: `files were not swept`
 */
export function keepDoing(
  work: () => Promise<unknown>,
  { everyMs, otherwise, log }: { everyMs: number; otherwise: string; log: Log },
): () => Promise<void> {
  let working: Promise<unknown> | undefined;
  const timer = setInterval(() => {
    if (working) return;
    working = work()
      .catch((error) => {
        if (isTemperaError(error) && error.code === "store_unavailable")
          log.debug({ err: errorInfo(error) }, otherwise);
        else log.error({ err: error }, otherwise);
      })
      .finally(() => {
        working = undefined;
      });
  }, everyMs);
  return async () => {
    clearInterval(timer);
    await Promise.race([working, sleep(STOP_MS, undefined, { ref: false })]);
  };
}
