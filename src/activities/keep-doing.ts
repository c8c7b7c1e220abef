import { errorInfo, isTemperaError } from "../core/errors/tempera-error.ts";
import type { Log } from "../core/ports/log.ts";

/**
 * Does a piece of work every so often, never twice at once, until the returned function is called. A store that is away is waited for.
 *
 * @param otherwise what the log says of a time that it was not done: `files were not swept`
 */
export function keepDoing(
  work: () => Promise<unknown>,
  { everyMs, otherwise, log }: { everyMs: number; otherwise: string; log: Log },
): () => void {
  let working = false;
  const timer = setInterval(() => {
    if (working) return;
    working = true;
    work()
      .catch((error) => {
        if (isTemperaError(error)) log.debug({ err: errorInfo(error) }, otherwise);
        else log.error({ err: error }, otherwise);
      })
      .finally(() => {
        working = false;
      });
  }, everyMs);
  return () => clearInterval(timer);
}
