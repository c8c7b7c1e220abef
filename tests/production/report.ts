/** The report of a run: its checks, its figures, and its violations. */
import { type FirstTries, firstTries, percentile, recoveryTimes, UNNOTICED } from "./checker/figures.ts";
import type { FaultRecord, Ledger, Read } from "./checker/ledger.ts";
import { RULES, type Violation } from "./checker/rules.ts";
import type { RoleExit } from "./stack/role-process.ts";

const FIRST_TRY_PERCENT_MIN = 99;
/** A fault is over for its callers this soon after the part itself is back, beyond a job's own time. */
const RECOVERY_MS_MAX = 3_000;

/** The share of the planned jobs and faults that a run must come to, or it shows nothing. */
const DONE_SHARE_MIN = 0.25;

/** The rules about the stack after the run, beside those about requests. */
export const AT_THE_END = ["nothing stays open", "no orphan engines"] as const;

export interface Check {
  name: string;
  value: number;
  limit: number;
  pass: boolean;
}

export interface Outcome {
  seed: number;
  /** The jobs and faults that were asked for. A slow machine may not come to all of them. */
  planned: { jobs: number; faults: number };
  ledger: Ledger;
  violations: Violation[];
  exits: RoleExit[];
  /** Times of probes before the first fault, in milliseconds. */
  baselineMs: number[];
  seconds: number;
}

export interface Report {
  checks: Check[];
  figures: Record<string, unknown>;
  violations: (Violation & { faults: string[] })[];
}

/** Makes the report. */
export function reportOf(outcome: Outcome): Report {
  const { seed, planned, ledger, violations, exits, baselineMs, seconds } = outcome;
  const tries = firstTries(ledger);
  const recovered = recoveryTimes(ledger.faults);
  const baseline = percentile(baselineMs, 95);
  const rules = [...Object.keys(RULES), ...AT_THE_END];
  const checks: Check[] = [
    ...rules.map((rule) => atMost(rule, violations.filter((each) => each.rule === rule).length, 0)),
    atMost("roles that ended by themselves", exits.length, 0),
    atLeast(
      "accepted at first try, part away",
      percentOf(sum(tries, UNNOTICED), "firstTry"),
      FIRST_TRY_PERCENT_MIN,
    ),
    atLeast(
      "accepted by the other gateway, gateway away",
      percentOf(sum(tries, ["gateway"]), "eitherGateway"),
      FIRST_TRY_PERCENT_MIN,
    ),
    atMost("recovery p95, ms", Math.round(percentile(recovered, 95)), Math.round(RECOVERY_MS_MAX + baseline)),
    atMost("faults without recovery", ledger.faults.length - recovered.length, 0),
    // Nothing is violated in a run in which nothing happened.
    atLeast("jobs accepted", ledger.accepted.size, Math.ceil(planned.jobs * DONE_SHARE_MIN)),
    atLeast("faults made", ledger.faults.length, Math.ceil(planned.faults * DONE_SHARE_MIN)),
    atLeast("images compared", ledger.images.length, 2),
  ];
  return {
    checks,
    figures: {
      seed,
      seconds: Math.round(seconds),
      jobs: ledger.jobs.length,
      accepted: ledger.accepted.size,
      faults: ledger.faults.length,
      reads: readFigures(ledger),
      webhooks: ledger.webhooks.length,
      images: ledger.images.length,
      probe_before_faults_p95_ms: Math.round(baseline),
      recovery_ms: { p50: Math.round(percentile(recovered, 50)), p95: Math.round(percentile(recovered, 95)) },
      recovery_by_target_ms: recoveryByTarget(ledger.faults),
      first_try: Object.fromEntries([...tries].sort()),
    },
    violations: violations.map((violation) => ({ ...violation, faults: faultsAt(ledger, violation) })),
  };
}

const atMost = (name: string, value: number, limit: number): Check => ({
  name,
  value,
  limit,
  pass: value <= limit,
});
const atLeast = (name: string, value: number, limit: number): Check => ({
  name,
  value,
  limit,
  pass: value >= limit,
});

function sum(tries: Map<string, FirstTries>, targets: readonly string[]): FirstTries {
  const total = { submits: 0, firstTry: 0, eitherGateway: 0 };
  for (const target of targets) {
    const found = tries.get(target);
    if (!found) continue;
    for (const field of ["submits", "firstTry", "eitherGateway"] as const) total[field] += found[field];
  }
  return total;
}

/** The share in percent, to a tenth; 100 of none. */
const percentOf = (tries: FirstTries, field: "firstTry" | "eitherGateway"): number =>
  tries.submits === 0 ? 100 : Math.round((1000 * tries[field]) / tries.submits) / 10;

/** Enough of a refusal to tell it from another, before the addresses in it. */
const REASON_CHARACTERS = 40;

/** Counts the reads that got no answer, or a 503, by the parts that were away when they began. */
function unavailableByTarget(reads: readonly Read[], faults: readonly FaultRecord[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { seen, status, startMs, by, reason = "" } of reads) {
    if (seen !== "unavailable") continue;
    const away = faults.filter(({ beginMs, endMs }) => startMs >= beginMs && startMs <= endMs);
    const targets = away.map(({ target }) => target).join(" + ") || "none";
    const answer = status === undefined ? "no answer" : `${status} ${reason.slice(0, REASON_CHARACTERS)}`;
    const name = `${targets}: ${by} ${answer}`;
    counts[name] = (counts[name] ?? 0) + 1;
  }
  return counts;
}

/** The share of status reads that were answered, and their times. */
function readFigures({ reads, faults }: Ledger): Record<string, unknown> {
  const statuses = reads.filter(({ by }) => by === "status");
  const answers = statuses.filter(({ seen }) => seen !== "unavailable");
  const times = statuses.map(({ startMs, endMs }) => endMs - startMs);
  return {
    all: reads.length,
    status_answers_percent: Math.round((1000 * answers.length) / Math.max(1, statuses.length)) / 10,
    status_ms_p50: Math.round(percentile(times, 50)),
    status_ms_p99: Math.round(percentile(times, 99)),
    unavailable_by_target: unavailableByTarget(reads, faults),
  };
}

function recoveryByTarget(faults: readonly FaultRecord[]): Record<string, unknown> {
  const targets = [...new Set(faults.map(({ target }) => target))].sort();
  return Object.fromEntries(
    targets.map((target) => {
      const own = faults.filter((fault) => fault.target === target);
      const recovered = recoveryTimes(own);
      const start = Math.max(...own.map(({ startMs = 0 }) => startMs));
      return [
        target,
        {
          faults: own.length,
          p50: Math.round(percentile(recovered, 50)),
          max: Math.round(Math.max(0, ...recovered)),
          own_start_max: Math.round(start),
        },
      ];
    }),
  );
}

/** A time of the process's clock as the logs have it. */
const timeOf = (atMs: number): string => new Date(performance.timeOrigin + atMs).toISOString().slice(11, 23);

/** Names the faults around a violation: those that were in progress, or had ended within some seconds. */
function faultsAt(ledger: Ledger, { requestId, atMs }: Violation): string[] {
  const reads = ledger.reads.filter((read) => read.requestId === requestId).map(({ startMs }) => startMs);
  const fromMs = atMs ?? Math.min(...reads);
  const untilMs = atMs ?? fromMs;
  return ledger.faults
    .filter(({ beginMs, endMs }) => beginMs <= untilMs + 5_000 && endMs >= fromMs - 5_000)
    .map(({ name, beginMs, endMs }) => `${name} ${timeOf(beginMs)} to ${timeOf(endMs)}`);
}

/** Words the report for a terminal. */
export function reportText({ checks, figures, violations }: Report): string {
  const lines = violations
    .slice(0, 40)
    .map(
      ({ rule, text, requestId = "", atMs, faults }) =>
        `  ${rule}: ${requestId} ${text}${atMs === undefined ? "" : ` (at ${timeOf(atMs)})`}` +
        (faults.length > 0 ? `\n      near ${faults.join("; ")}` : ""),
    );
  return [
    ...(lines.length > 0 ? [`${violations.length} violations:`, ...lines, ""] : []),
    JSON.stringify(figures, undefined, 1),
    "",
    ...checks.map(
      ({ name, value, limit, pass }) => `${pass ? "pass" : "FAIL"}  ${name}: ${value} (limit ${limit})`,
    ),
  ].join("\n");
}
