import type { Page } from "../webhooks/delivery-store.ts";
import type { JobSpec } from "./job.ts";
import type { Outcome } from "./request.ts";
import type { DeadLetter } from "./request-store.ts";

export interface DeadLetterDetail extends DeadLetter {
  /** Everything its workflow was started with. */
  job: JobSpec;
  outcome: Outcome;
  /** The request that tries it again, once there is one. */
  retriedAs?: string;
  /** When that request was started: from then on the letter waits for nobody. */
  retriedAtMs?: number;
}

/**
 * The dead letters of jobs. Every method rejects with `store_unavailable` when Postgres cannot be reached.
 */
export interface DeadLetterStore {
  /** Those that wait for a person, newest first. */
  list(page: Page): Promise<DeadLetter[]>;
  find(requestId: string): Promise<DeadLetterDetail | undefined>;
  /**
   * Names the request that tries it again: `newId`, unless one was named before. Returns the one that stands.
   */
  claimRetry(requestId: string, newId: string): Promise<string | undefined>;
  /** The request that tries it again was started. */
  markRetried(requestId: string, atMs: number): Promise<void>;
  /** Forgets a letter; the request keeps its outcome. False when there is none. */
  discard(requestId: string): Promise<boolean>;
}
