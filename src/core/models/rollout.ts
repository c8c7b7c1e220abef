/**
 * A rollout sends a share of an endpoint's requests, by hash of the request id, to a newer version. It ends
 * promoted (the newer version serves everybody) or rolled back (the newer version is disabled): by hand, or
 * by its rules.
 */
export type RolloutState = "running" | "promoted" | "rolled_back";

/**
 * What is watched. Both versions are looked at over the same window; a caller's own faults and cancels count
 * for nothing.
 */
export interface RolloutRules {
  /** The window that is looked at, back from now. */
  windowSeconds: number;
  /** Fewer ended requests of the newer version in the window say nothing. */
  requestsMin: number;
  /** Percentage points by which the newer version's error rate may be above the older one's. */
  errorMargin: number;
  /** Times the older version's p95 that the newer one's may be. */
  p95Ratio: number;
  /** Promoted when it was not worse for this long, at its present share. Absent: a person promotes it. */
  promoteAfterSeconds?: number;
}

export interface Rollout {
  rolloutId: string;
  endpoint: string;
  fromVersion: string;
  toVersion: string;
  /** Percent of the requests that go to the newer version. */
  share: number;
  state: RolloutState;
  /** Absent: it is promoted or rolled back by hand. */
  rules?: RolloutRules;
  /** Why it ended. */
  reason?: string;
  startedBy: string;
  startedAtMs: number;
  /** Since when it is as it is. */
  changedAtMs: number;
  revision: number;
}

/** What a version did in the window of a rollout. */
export interface VersionRecord {
  /** Requests that ended, callers' own faults and cancels aside. */
  ended: number;
  failed: number;
  /** Of those that succeeded, from start to end. Absent when there are none. */
  p95Ms?: number;
}

export type Verdict = { keep: string } | { rollBack: string } | { promote: string };

const percent = (rate: number): string => `${(rate * 100).toFixed(1)} %`;

/** Judges a rollout by its rules. `keep` says what it waits for. Reasons are sentences for an operator. */
export function judge(
  { fromVersion, toVersion, changedAtMs }: Pick<Rollout, "fromVersion" | "toVersion" | "changedAtMs">,
  rules: RolloutRules,
  { from, to }: { from: VersionRecord; to: VersionRecord },
  nowMs: number,
): Verdict {
  if (to.ended < rules.requestsMin)
    return { keep: `${toVersion} ended ${to.ended} requests of the ${rules.requestsMin} that are needed.` };
  const rate = ({ ended, failed }: VersionRecord): number => (ended === 0 ? 0 : failed / ended);
  const over = `in ${rules.windowSeconds} s`;
  if ((rate(to) - rate(from)) * 100 > rules.errorMargin) {
    const beside = `${fromVersion} fails ${percent(rate(from))} of ${from.ended}`;
    return {
      rollBack: `${toVersion} fails ${percent(rate(to))} of ${to.ended} requests ${over}, ${beside}; ${rules.errorMargin} points more are allowed.`,
    };
  }
  if (from.p95Ms !== undefined && to.p95Ms !== undefined && to.p95Ms > from.p95Ms * rules.p95Ratio) {
    return {
      rollBack: `${toVersion} has a p95 of ${Math.round(to.p95Ms)} ms ${over}, ${fromVersion} one of ${Math.round(from.p95Ms)} ms; ${rules.p95Ratio} times that are allowed.`,
    };
  }
  const goodSeconds = Math.floor((nowMs - changedAtMs) / 1000);
  if (rules.promoteAfterSeconds === undefined)
    return { keep: `${toVersion} is not worse; promote it by hand.` };
  if (goodSeconds < rules.promoteAfterSeconds)
    return { keep: `${toVersion} is not worse; promoted after ${rules.promoteAfterSeconds} s.` };
  return {
    promote: `${toVersion} was not worse for ${goodSeconds} s: ${percent(rate(to))} of ${to.ended} requests failed.`,
  };
}
