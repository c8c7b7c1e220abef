/** So many points in each window of time, for one owner. */
export interface Quota {
  ownerId: string;
  /** What is counted, for example `requests`; with the owner it names the counter. */
  name: string;
  limit: number;
  windowSeconds: number;
}

export type QuotaDecision = { ok: true } | { ok: false; retryAfterMs: number };

/**
 * Counters that all gateways share. They never reject and never let everything through: where the shared
 * store is away, each process counts for itself, so that an owner has at most its limit at each gateway.
 */
export interface Quotas {
  /**
   * Whole points. Refused ones are taken all the same when the window is short, which spares a round trip for
   * each of a flood.
   */
  take(quota: Quota, points: number): Promise<QuotaDecision>;
  /** Gives points back that were not used after all. */
  refund(quota: Quota, points: number): Promise<void>;
  close(): Promise<void>;
}
