/**
 * A rollout sends a share of an endpoint's requests, by hash of the request id, to a newer version. It ends
 * promoted (the newer version serves everybody) or rolled back (the newer version is disabled), either by an
 * operator or by its rules.
 */
import { createHash } from "node:crypto";

export type RolloutState = "running" | "promoted" | "rolled_back";

/**
 * Rules that end a rollout. Both versions are compared over the same window; errors of the caller's and
 * cancels are not counted.
 */
export interface RolloutRules {
  /** Length of the compared window, which ends now. */
  windowSeconds: number;
  /** Ended requests of the newer version in the window, below which nothing is decided. */
  requestsMin: number;
  /** Percentage points by which the newer version's error rate may exceed the older one's. */
  errorMargin: number;
  /** Factor by which the newer version's p95 may exceed the older one's. */
  p95Ratio: number;
  /**
   * Time at the present share without being worse, after which it is promoted. Absent: by an operator only.
   */
  promoteAfterSeconds?: number;
}

export interface Rollout {
  rolloutId: string;
  endpoint: string;
  fromVersion: string;
  toVersion: string;
  /** Percentage of the requests that go to the newer version. */
  share: number;
  state: RolloutState;
  /** Absent: an operator promotes it or rolls it back. */
  rules?: RolloutRules;
  /** The reason of its end. */
  reason?: string;
  startedBy: string;
  startedAtMs: number;
  /** Time of the last change of its state or share. */
  changedAtMs: number;
  revision: number;
}

/** The ended requests of a version in the window of a rollout. */
export interface VersionRecord {
  /** Ended requests, without errors of the caller's and cancels. */
  ended: number;
  failed: number;
  /** Duration of those that succeeded. Absent when there are none. */
  p95Ms?: number;
}

export type Verdict = { keep: string } | { rollBack: string } | { promote: string };

const percent = (rate: number): string => `${(rate * 100).toFixed(1)} %`;

/** Judges a rollout by its rules. The reasons are sentences for an operator; `keep` tells what is missing. */
export function judge(
  { fromVersion, toVersion, changedAtMs }: Pick<Rollout, "fromVersion" | "toVersion" | "changedAtMs">,
  rules: RolloutRules,
  { from, to }: { from: VersionRecord; to: VersionRecord },
  nowMs: number,
): Verdict {
  if (to.ended < rules.requestsMin)
    return { keep: `${toVersion} has ended ${to.ended} requests; ${rules.requestsMin} are needed.` };
  const rate = ({ ended, failed }: VersionRecord): number => (ended === 0 ? 0 : failed / ended);
  const over = `in ${rules.windowSeconds} s`;
  if ((rate(to) - rate(from)) * 100 > rules.errorMargin) {
    const beside = `${fromVersion} fails ${percent(rate(from))} of ${from.ended}`;
    return {
      rollBack:
        `${toVersion} fails ${percent(rate(to))} of ${to.ended} requests ${over}, ${beside}; ` +
        `${rules.errorMargin} percentage points more are allowed.`,
    };
  }
  if (from.p95Ms !== undefined && to.p95Ms !== undefined && to.p95Ms > from.p95Ms * rules.p95Ratio) {
    return {
      rollBack:
        `${toVersion} has a p95 of ${Math.round(to.p95Ms)} ms ${over}, ` +
        `${fromVersion} one of ${Math.round(from.p95Ms)} ms; ${rules.p95Ratio} times that is allowed.`,
    };
  }
  const goodSeconds = Math.floor((nowMs - changedAtMs) / 1000);
  if (rules.promoteAfterSeconds === undefined)
    return { keep: `${toVersion} is not worse. Promote it by hand.` };
  if (goodSeconds < rules.promoteAfterSeconds)
    return { keep: `${toVersion} is not worse. It is promoted after ${rules.promoteAfterSeconds} s.` };
  return {
    promote:
      `${toVersion} was not worse for ${goodSeconds} s: ` +
      `${percent(rate(to))} of ${to.ended} requests failed.`,
  };
}

/**
 * Returns the stable position of `subject` within `scope`, from 0 up to 100. It belongs to a share of n %
 * when it is below n, so raising a share keeps everybody who was in it. Positions are evenly spread, and
 * unrelated for two different scopes: they are the first 32 bits of a SHA-256.
 *
 *     rolloutBucket("fal-ai/qwen-image", "0191…") // 73.04…
 */
export function rolloutBucket(scope: string, subject: string): number {
  const digest = createHash("sha256").update(scope).update("\n").update(subject).digest();
  return (digest.readUInt32BE(0) / 2 ** 32) * 100;
}
