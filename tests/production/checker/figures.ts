/** The figures of a run: first tries by the part that was away, and recovery times. */
import type { FaultRecord, Ledger, SubmitCall } from "./ledger.ts";

/** Parts whose absence must not be noticed by submits. */
export const UNNOTICED = ["redis", "engine", "gpu-worker", "orchestrator", "object-store"] as const;

/** Submits that began while a part was away. */
export interface FirstTries {
  submits: number;
  /** Accepted by the first call. */
  firstTry: number;
  /** Accepted by the first call, or by the next, which goes to the other gateway. */
  eitherGateway: number;
}

/** Counts first tries by the part that was away when they began; `none` for the others. */
export function firstTries(ledger: Ledger): Map<string, FirstTries> {
  const counts = new Map<string, FirstTries>();
  const isBig = new Map(ledger.jobs.map((job) => [job.number, job.isBig === true]));
  const calls = callsByClient(ledger);
  for (const [first, second] of calls) {
    const faults = ledger.faults.filter(
      ({ beginMs, endMs }) => first.startMs >= beginMs && first.startMs <= endMs,
    );
    const [fault] = faults;
    // Overlapping faults are judged by nobody, and a big input needs the object store.
    if (faults.length > 1 || fault?.overlapped) continue;
    if (fault?.target === "object-store" && isBig.get(first.job)) continue;
    const target = fault?.target ?? "none";
    const count = counts.get(target) ?? { submits: 0, firstTry: 0, eitherGateway: 0 };
    count.submits++;
    if (first.status === 200) count.firstTry++;
    if (first.status === 200 || second?.status === 200) count.eitherGateway++;
    counts.set(target, count);
  }
  return counts;
}

/** The first call of each client, with the one that followed it. Twins are two clients of one job. */
function callsByClient(ledger: Ledger): [SubmitCall, SubmitCall | undefined][] {
  const byJob = groupBy(ledger.submits);
  return [...byJob.values()].flatMap((calls) =>
    calls
      .filter(({ isFirst }) => isFirst)
      .map((first): [SubmitCall, SubmitCall | undefined] => {
        const next = calls.find(
          ({ isFirst, gateway, startMs }) => !isFirst && gateway !== first.gateway && startMs >= first.endMs,
        );
        return [first, next];
      }),
  );
}

function groupBy(submits: readonly SubmitCall[]): Map<number, SubmitCall[]> {
  const groups = new Map<number, SubmitCall[]>();
  for (const call of submits) {
    const known = groups.get(call.job);
    if (known) known.push(call);
    else groups.set(call.job, [call]);
  }
  return groups;
}

/** The recovery times of faults after which a probe succeeded, in milliseconds. */
export function recoveryTimes(faults: readonly FaultRecord[]): number[] {
  return faults.flatMap(({ recoveryMs }) => recoveryMs ?? []);
}

/** The smallest value that at least `percent` of the values do not exceed; 0 for none. */
export function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((sorted.length * percent) / 100) - 1)] ?? 0;
}
