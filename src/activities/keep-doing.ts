import { errorInfo, isTemperaError } from "../core/errors/tempera-error.ts";
import type { Log } from "../core/ports/log.ts";

/**
 * Does a piece of work every so often, never twice at once, until the returned function is called, which resolves when what was being
 * done then has ended. A store that is away is waited for.
 *
 * @param otherwise what the log says of a time that it was not done: `files were not swept`
 */
export function keepDoing(
  work: () => Promise<unknown>,
  { everyMs, otherwise, log }: { everyMs: number; otherwise: string; log: Log },
): () => Promise<void> {
  let working: Promise<void> | undefined;
  const timer = setInterval(() => {
    if (working) return;
    working = work()
      .then(() => {})
      .catch((error) => {
        if (isTemperaError(error)) log.debug({ err: errorInfo(error) }, otherwise);
        else log.error({ err: error }, otherwise);
      })
      .finally(() => {
        working = undefined;
      });
  }, everyMs);
  return async () => {
    clearInterval(timer);
    await working;
  };
}
