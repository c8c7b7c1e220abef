import type { ClaimStore } from "../core/requests/idempotency-store.ts";

/** Claims that one statement deletes. */
const BATCH = 1_000;

/** Deletes the expired claims of idempotency keys. */
export async function sweepClaims({ claims }: { claims: Pick<ClaimStore, "sweep"> }): Promise<void> {
  while ((await claims.sweep(BATCH)) === BATCH);
}
