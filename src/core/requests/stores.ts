import type { DeadLetterStore } from "./dead-letter-store.ts";
import type { ClaimStore } from "./idempotency-store.ts";
import type { LogSearch } from "./log-search.ts";
import type { RequestSearch } from "./request-search.ts";
import type { RequestStore } from "./request-store.ts";
import type { WithdrawalStore } from "./withdrawal.ts";

/** The durable stores of requests. */
export interface RequestStores {
  /** The record of every request: its job, its outcome, its log lines. */
  requests: RequestStore;
  /** Lists and looks up records of requests, by endpoint, owner, time and status. */
  requestSearch: RequestSearch;
  /** Requests that failed for a reason of the platform's, until an operator retries or discards them. */
  deadLetters: DeadLetterStore;
  /** The request that each idempotency key stands for. */
  claims: ClaimStore;
  /** Searches in the log lines of requests. */
  logSearch: LogSearch;
  /** The jobs that are to be ended because their callers were answered with an error. */
  withdrawals: WithdrawalStore;
}
