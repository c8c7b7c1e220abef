/** A quota allows an owner a number of points in each window of time. */
export interface Quota {
  ownerId: string;
  /** Name of the counted thing, for example `requests`; with the owner it identifies the counter. */
  name: string;
  limit: number;
  windowSeconds: number;
}

export type QuotaDecision = { ok: true } | { ok: false; retryAfterMs: number };

/**
 * Counters that all gateways share. Their methods never reject, and never allow everything: while the shared
 * store is unavailable, each process counts by itself, so that an owner has at most its limit at each
 * gateway.
 */
export interface Quotas {
  /**
   * Takes whole points. In a short window, refused points count too: that saves a round trip for each call
   * of a flood.
   */
  take(quota: Quota, points: number): Promise<QuotaDecision>;
  /** Returns points that were not used. */
  refund(quota: Quota, points: number): Promise<void>;
  close(): Promise<void>;
}
