import type { ClaimStore } from "../core/requests/idempotency-store.ts";

/** Claims deleted in one statement. */
const BATCH = 1_000;

/** Deletes the claims of idempotency keys whose time has passed. */
export async function sweepClaims({ claims }: { claims: Pick<ClaimStore, "sweep"> }): Promise<void> {
  while ((await claims.sweep(BATCH)) === BATCH);
}
