import { errorInfo, isTemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import type { ClaimStore } from "../core/ports/claim-store.ts";
import type { Log } from "../core/ports/log.ts";

/** Claims deleted in one statement. */
const BATCH = 1_000;

/** Deletes claims of idempotency keys whose time has passed, every `LIMITS.claimSweepMs`, until the returned function is called. */
export function keepSweepingClaims({ claims, log }: { claims: Pick<ClaimStore, "sweep">; log: Log }): () => void {
  let sweeping = false;
  const sweep = async (): Promise<void> => {
    while ((await claims.sweep(BATCH)) === BATCH);
  };
  const timer = setInterval(() => {
    if (sweeping) return;
    sweeping = true;
    sweep()
      .catch((error) => {
        if (isTemperaError(error)) log.debug({ err: errorInfo(error) }, "claims were not swept");
        else log.error({ err: error }, "claims were not swept");
      })
      .finally(() => {
        sweeping = false;
      });
  }, LIMITS.claimSweepMs);
  return () => clearInterval(timer);
}
