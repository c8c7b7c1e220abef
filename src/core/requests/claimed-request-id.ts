import { createHash } from "node:crypto";
import type { ClaimName } from "./idempotency-store.ts";

const DAY_MS = 24 * 3600 * 1000;

/** Returns the number of a day, by UTC. */
export function dayOf(ms: number): number {
  return Math.floor(ms / DAY_MS);
}

/**
 * Computes the id of the request whose idempotency key is used on a day: a UUIDv7 of the beginning of the day
 * and a digest of the claim's name. PostgreSQL derives the same id (`idempotency-store.ts` of its adapter).
 */
export function claimedRequestId({ ownerId, key }: ClaimName, day: number): string {
  const name = `${ownerId}\n${key}\n`.replaceAll("\u0000", "\ufffd");
  const digest = createHash("sha256").update(`${name}${day}`).digest("hex");
  const hex = `${(day * DAY_MS).toString(16).padStart(12, "0")}7${digest.slice(0, 3)}a${digest.slice(3, 18)}`;
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
