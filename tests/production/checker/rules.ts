/**
 * The rules that a run is judged by. They know only what clients and the receiver saw and what the stores had
 * at the end.
 */
import type { JobPlan } from "../load/plan.ts";
import type { Ledger, Read, SubmitCall } from "./ledger.ts";
import type { RequestRow, StoreRecords, WorkflowRecord } from "./stores.ts";

/** Something that must not happen. */
export interface Violation {
  rule: string;
  text: string;
  requestId?: string;
  /** When it was seen, by the clock of the process. */
  atMs?: number;
}

export interface Evidence {
  ledger: Ledger;
  stores: StoreRecords;
}

/** The evidence by request, made once for all rules. */
interface Index extends Evidence {
  jobOf: Map<string, JobPlan>;
  reads: Map<string, Read[]>;
  rows: Map<string, RequestRow>;
  workflows: Map<string, WorkflowRecord>;
}

type Rule = (index: Index) => Omit<Violation, "rule">[];

/** Every rule, by its name in the report. */
export const RULES: Record<string, Rule> = {
  "accepted jobs end": acceptedJobsEnd,
  "a job has one outcome": oneOutcome,
  "an end stands": endsStand,
  "jobs end as they should": endsAreRight,
  "one key is one request": keysAreOne,
  "nobody's jobs": noPhantoms,
  "usage is counted once": usageOnce,
  "webhooks arrive, signed, with one body": webhooksArrive,
  "equal seeds make equal images": seedsDecide,
  "answers are those of the contract": answersAreRight,
  "no dead letters": noDeadLetters,
  "parts come back": ({ ledger }) => ledger.lost,
};

/** Applies every rule. */
export function judge(evidence: Evidence): Violation[] {
  const index = indexOf(evidence);
  return Object.entries(RULES).flatMap(([rule, find]) => find(index).map((found) => ({ rule, ...found })));
}

function indexOf({ ledger, stores }: Evidence): Index {
  const jobs = new Map(ledger.jobs.map((job) => [job.number, job]));
  const jobOf = new Map<string, JobPlan>();
  for (const [number, ids] of ledger.accepted) {
    const job = jobs.get(number);
    if (job) for (const id of ids) jobOf.set(id, job);
  }
  const reads = new Map<string, Read[]>();
  for (const read of ledger.reads) {
    const known = reads.get(read.requestId);
    if (known) known.push(read);
    else reads.set(read.requestId, [read]);
  }
  return {
    ledger,
    stores,
    jobOf,
    reads,
    rows: new Map(stores.requests.map((row) => [row.requestId, row])),
    workflows: new Map(stores.workflows.map((workflow) => [workflow.workflowId, workflow])),
  };
}

/** The states in which the workflow of an accepted job closes. A terminated one has no outcome. */
const CLOSED = new Set(["COMPLETED", "FAILED", "CANCELLED"]);

function acceptedJobsEnd({ ledger, jobOf, reads, rows, workflows }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  for (const { number } of ledger.jobs) {
    const calls = ledger.submits.filter(({ job }) => job === number);
    if (calls.length > 0 && !ledger.accepted.has(number))
      found.push({ text: `job ${number} was never accepted: ${calls.at(-1)?.reason ?? "no answer"}` });
  }
  for (const requestId of jobOf.keys()) {
    const workflow = workflows.get(requestId);
    if (!workflow || !CLOSED.has(workflow.status))
      found.push({ requestId, text: `its workflow is ${workflow?.status ?? "unknown to Temporal"}` });
    if (!rows.get(requestId)?.outcome) found.push({ requestId, text: "PostgreSQL has no outcome of it" });
    if (!reads.get(requestId)?.some(({ seen }) => seen === "ended"))
      found.push({ requestId, text: "no client ever saw its end" });
  }
  return found;
}

/** Compares every result that was read, webhook, PostgreSQL and Temporal. */
function oneOutcome({ jobOf, reads, rows, workflows }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  for (const requestId of jobOf.keys()) {
    const mine = reads.get(requestId) ?? [];
    const row = rows.get(requestId)?.outcome;
    const recorded = workflows.get(requestId)?.outcome;
    const results = mine.filter(({ result }) => result !== undefined);
    const seen = new Map(results.map((read) => [read.result, read]));
    if (row?.output !== undefined && !seen.has(row.output) && seen.size > 0)
      found.push({ requestId, text: "PostgreSQL has another output than clients read" });
    const bytes = new Set(results.flatMap(({ bytes: own }) => own ?? []));
    if (seen.size > 1 || bytes.size > 1) {
      const each = [...seen.values()].map(
        ({ by, gateway, result }) => `${by} of gateway ${gateway + 1}: ${result}`,
      );
      found.push({ requestId, text: `${Math.max(seen.size, bytes.size)} results: ${each.join(", ")}` });
    }
    if (row && recorded && row.digest !== recorded.digest)
      found.push({
        requestId,
        text: `PostgreSQL has ${row.end} and Temporal ${recorded.end}, not the same outcome`,
      });
    const isCancelled = workflows.get(requestId)?.status === "CANCELLED";
    if (row && isCancelled !== (row.end === "client_cancelled"))
      found.push({ requestId, text: `its end is ${row.end}, and its workflow's another` });
    const ends = new Set(
      mine.flatMap(({ by, end }) => (end && (by === "status" || by === "stream") ? [end] : [])),
    );
    if (row) ends.add(row.end);
    if (ends.size > 1) found.push({ requestId, text: `ends ${[...ends].join(", ")}` });
    const isOk = new Set(mine.flatMap(({ end }) => (end === undefined ? [] : [end === "ok"])));
    if (isOk.size > 1) found.push({ requestId, text: "an output for some and an error for others" });
  }
  return found;
}

/**
 * After any answer with the end of a request, every call that begins later gets that end too, or learns that
 * the platform is unavailable.
 */
function endsStand({ jobOf, reads }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  for (const requestId of jobOf.keys()) {
    const mine = reads.get(requestId) ?? [];
    const first = mine
      .filter(({ seen }) => seen === "ended")
      .reduce<Read | undefined>(
        (first, read) => (first && first.endMs <= read.endMs ? first : read),
        undefined,
      );
    if (!first) continue;
    const later = mine.filter(
      ({ seen, startMs }) => startMs > first.endMs && (seen === "unfinished" || seen === "unknown"),
    );
    const [wrong] = later;
    if (!wrong) continue;
    const lateMs = wrong.startMs - first.endMs;
    found.push({
      requestId,
      atMs: wrong.endMs,
      text:
        `ended by ${first.by} of gateway ${first.gateway + 1}, and ${lateMs.toFixed()} ms later ` +
        `${wrong.seen} by ${wrong.by} of gateway ${wrong.gateway + 1} (${later.length} such answers)`,
    });
  }
  return found;
}

function endsAreRight({ jobOf, rows, ledger }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  for (const [requestId, job] of jobOf) {
    const end = rows.get(requestId)?.outcome?.end;
    if (end !== undefined && !job.ends.includes(end))
      found.push({ requestId, text: `job ${job.number} (${job.endpoint}) ended as ${end}` });
    if (end === "client_cancelled" && job.cancelAfterMs === undefined && !ledger.cancelled.has(requestId))
      found.push({ requestId, text: "it was cancelled, and nobody asked for it" });
  }
  return found;
}

function keysAreOne({ ledger }: Index) {
  return ledger.jobs.flatMap(({ number, key }) => {
    const ids = ledger.accepted.get(number) ?? new Set();
    return key !== undefined && ids.size > 1
      ? [{ text: `key ${key} became the requests ${[...ids].join(", ")}` }]
      : [];
  });
}

/** The calls that may have made a job although their client was not told so. */
const isAmbiguous = ({ status, reason = "" }: SubmitCall): boolean =>
  status === undefined || /not known whether/.test(reason);

/** Every workflow and row belongs to an accepted submit, or to one whose answer left that open. */
function noPhantoms({ ledger, jobOf, rows, workflows, stores }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  const ids = new Set([
    ...stores.requests.filter(({ isNode }) => !isNode).map(({ requestId }) => requestId),
    ...[...workflows.values()]
      .filter(({ type }) => type === "inferenceJob" || type === "pipeline")
      .map(({ workflowId }) => workflowId),
    ...ledger.webhooks.map(({ requestId }) => requestId),
  ]);
  const named = new Map(ledger.submits.map((call) => [call.requestId, call]));
  for (const requestId of ids) {
    if (jobOf.has(requestId)) continue;
    const url = rows.get(requestId)?.webhookUrl ?? workflows.get(requestId)?.webhookUrl;
    const call = named.get(requestId) ?? callOfWebhook(ledger, url);
    if (call && isAmbiguous(call)) continue;
    const how = call ? `answered ${call.status}: ${call.reason}` : "which no client sent";
    const status = workflows.get(requestId)?.status ?? "unknown to Temporal";
    found.push({
      requestId,
      text: `a job (${status}) of a submit ${how}`,
      ...(call && { atMs: call.endMs }),
    });
  }
  return found;
}

/** The call that named this webhook, which has its job and the number of its try. */
function callOfWebhook(ledger: Ledger, url = ""): SubmitCall | undefined {
  const [, job, tryNumber] = /\/webhook\/(\d+)\/(\d+)$/.exec(url) ?? [];
  if (job === undefined) return undefined;
  return ledger.submits.find((call) => call.job === Number(job) && call.tryNumber === Number(tryNumber));
}

/** The ledger of usage has one entry of every request that ended, nodes included. */
function usageOnce({ stores }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  const usage = new Map(stores.usage.map((row) => [row.requestId, row]));
  for (const { requestId, outcome } of stores.requests) {
    const row = usage.get(requestId);
    if (outcome && !row) found.push({ requestId, text: "it ended, and its usage was not counted" });
    if (row && !outcome) found.push({ requestId, text: "its usage was counted before its end" });
    if (row && outcome && row.ok !== (outcome.end === "ok"))
      found.push({
        requestId,
        text: `its usage was counted as ${row.ok ? "ok" : "failed"}, its end is ${outcome.end}`,
      });
  }
  const known = new Set(stores.requests.map(({ requestId }) => requestId));
  for (const { requestId } of stores.usage)
    if (!known.has(requestId)) found.push({ requestId, text: "usage was counted of an unknown request" });
  if (usage.size !== stores.usage.length) found.push({ text: "a request was counted twice" });
  return found;
}

function webhooksArrive({ ledger, jobOf }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  const bodies = new Map<string, Set<string>>();
  for (const { requestId, body, isSigned, atMs } of ledger.webhooks) {
    bodies.set(requestId, (bodies.get(requestId) ?? new Set()).add(body));
    if (!isSigned) found.push({ requestId, atMs, text: "a webhook whose signature is wrong" });
  }
  for (const [requestId, job] of jobOf) {
    const count = bodies.get(requestId)?.size ?? 0;
    if (job.hasWebhook && count === 0) found.push({ requestId, text: "its webhook never arrived" });
    if (!job.hasWebhook && count > 0) found.push({ requestId, text: "a webhook that nobody wanted" });
    if (count > 1) found.push({ requestId, text: `its webhook arrived with ${count} bodies` });
  }
  return found;
}

function seedsDecide({ ledger }: Index) {
  const digests = new Map<string, Set<string>>();
  for (const { pair, digest } of ledger.images)
    digests.set(pair, (digests.get(pair) ?? new Set()).add(digest));
  return [...digests].flatMap(([pair, own]) =>
    own.size > 1 ? [{ text: `"${pair}" made ${own.size} different images` }] : [],
  );
}

/** No answer is a 500 or a 404 of an accepted request, and no submit is refused. */
function answersAreRight({ ledger, jobOf, reads }: Index) {
  const found: Omit<Violation, "rule">[] = [];
  for (const { job, status, reason, endMs } of ledger.submits) {
    const isRight =
      status === undefined || status === 200 || status === 502 || status === 503 || status === 504;
    if (!isRight)
      found.push({ atMs: endMs, text: `the submit of job ${job} was answered ${status}: ${reason}` });
  }
  for (const requestId of jobOf.keys()) {
    for (const { seen, by, status, reason, endMs, gateway } of reads.get(requestId) ?? []) {
      if (seen !== "odd" && seen !== "unknown") continue;
      const text = `a ${by} of gateway ${gateway + 1} was answered ${status}: ${reason}`;
      found.push({ requestId, atMs: endMs, text });
    }
  }
  return found;
}

function noDeadLetters({ stores }: Index) {
  return stores.deadLetters.map(({ requestId, reason }) => ({ requestId, text: `a dead letter: ${reason}` }));
}
