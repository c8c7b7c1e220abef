import { errorInfo, isTemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import type { Log } from "../core/ports/log.ts";

/**
 * Removes what is past, every `LIMITS.sweepMs` until the returned function is called. A store that is away is waited for.
 *
 * @param what for the log: `files`
 */
export function keepSweeping(what: string, sweep: () => Promise<unknown>, log: Log): () => void {
  let sweeping = false;
  const timer = setInterval(() => {
    if (sweeping) return;
    sweeping = true;
    sweep()
      .catch((error) => {
        if (isTemperaError(error)) log.debug({ err: errorInfo(error) }, `${what} were not swept`);
        else log.error({ err: error }, `${what} were not swept`);
      })
      .finally(() => {
        sweeping = false;
      });
  }, LIMITS.sweepMs);
  return () => clearInterval(timer);
}
