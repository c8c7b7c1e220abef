import type { Page } from "../webhooks/delivery-store.ts";
import type { JobSpec } from "./job.ts";
import type { Outcome } from "./request.ts";
import type { DeadLetter } from "./request-store.ts";

/** A dead letter with everything that is needed to retry it. */
export interface DeadLetterDetail extends DeadLetter {
  /** The input of its workflow. */
  job: JobSpec;
  outcome: Outcome;
  /** The request that retries it, once there is one. */
  retriedAs?: string;
  /** Time of the start of that request; from then on the letter waits for nobody. */
  retriedAtMs?: number;
}

/**
 * Stores dead letters: requests that failed for a reason of the platform's, until an operator retries or
 * discards them. Every method rejects with `store_unavailable` when PostgreSQL cannot be reached.
 */
export interface DeadLetterStore {
  /** Lists the letters that wait for an operator, newest first. */
  list(page: Page): Promise<DeadLetter[]>;
  find(requestId: string): Promise<DeadLetterDetail | undefined>;
  /**
   * Sets the request that retries it to `newId`, unless it was set before. Returns the id that is set.
   */
  claimRetry(requestId: string, newId: string): Promise<string | undefined>;
  /** Records that the request that retries it was started. */
  markRetried(requestId: string, atMs: number): Promise<void>;
  /** Deletes a letter; the request keeps its outcome. False when there is none. */
  discard(requestId: string): Promise<boolean>;
}
