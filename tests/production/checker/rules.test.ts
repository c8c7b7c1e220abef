/** The judge of `npm run test:production` finds each kind of violation, and nothing in a run without one. */
import { describe, expect, it } from "vitest";
import type { JobPlan } from "../load/plan.ts";
import { Ledger, type Read } from "./ledger.ts";
import { judge } from "./rules.ts";
import { readOutcome, type StoreRecords } from "./stores.ts";

const ID = "01a229ac-03e4-7307-b8b7-07ec83b5cb36";
const OTHER = "01a229ac-03e4-7307-b8b7-07ec83b5cb37";
const OUTPUT = { echo: 1, attempt: 1 };

const job: JobPlan = {
  ...{ number: 0, endpoint: "tempera/stub", input: {}, key: "job-0", isTwin: false, hasWebhook: true },
  ...{ follows: "polls", ends: ["ok"] },
};
const outcome = readOutcome({ ok: true, output: { inline: OUTPUT } });
const read = (more: Partial<Read>): Read => ({
  ...{ requestId: ID, by: "status", gateway: 0, startMs: 20, endMs: 21, seen: "ended", status: 200 },
  ...more,
});
const result = (more: Partial<Read> = {}): Read =>
  read({ by: "result", end: "ok", result: outcome.output as string, bytes: "b", ...more });

/** A run of one job that went well. */
function goodRun(): { ledger: Ledger; stores: StoreRecords } {
  const ledger = new Ledger();
  ledger.jobs.push(job);
  const call = { job: 0, tryNumber: 0, isFirst: true, gateway: 0, startMs: 0, endMs: 5 };
  ledger.submits.push({ ...call, status: 200, requestId: ID });
  ledger.accept(0, ID);
  ledger.reads.push(
    read({ seen: "unfinished", status: 202, startMs: 6, endMs: 7 }),
    read({ end: "ok" }),
    result({ startMs: 22, endMs: 23 }),
    result({ by: "webhook", gateway: -1, startMs: 24, endMs: 24 }),
  );
  ledger.webhooks.push({ job: 0, tryNumber: 0, atMs: 24, requestId: ID, isSigned: true, body: "w" });
  const webhookUrl = "http://receiver/webhook/0/0";
  return {
    ledger,
    stores: {
      requests: [
        { requestId: ID, endpoint: "tempera/stub", isNode: false, outcome, attempts: 1, webhookUrl },
      ],
      usage: [{ requestId: ID, ok: true, attempts: 1 }],
      deadLetters: [],
      workflows: [{ workflowId: ID, type: "inferenceJob", status: "COMPLETED", outcome }],
    },
  };
}

const rulesBroken = (change: (run: ReturnType<typeof goodRun>) => void): string[] => {
  const run = goodRun();
  change(run);
  return [...new Set(judge(run).map(({ rule }) => rule))];
};

it("finds nothing in a run that went well", () => {
  expect(rulesBroken(() => {})).toEqual([]);
});

describe("an end stands", () => {
  it.each([
    [
      "a status of the other gateway is unfinished",
      read({ gateway: 1, seen: "unfinished", startMs: 30, endMs: 31 }),
    ],
    ["a result is not there yet", result({ seen: "unfinished", startMs: 25, endMs: 26 })],
    ["the request is unknown", read({ seen: "unknown", status: 404, startMs: 40, endMs: 41 })],
  ])("when %s afterwards", (_what, late) => {
    const { end: _end, result: _result, bytes: _bytes, ...unfinished } = late;
    expect(rulesBroken(({ ledger }) => ledger.reads.push(unfinished))).toContain("an end stands");
  });

  it("and a call that began before the end was seen may still be answered with the state of then", () => {
    const early = read({ seen: "unfinished", status: 202, startMs: 20.5, endMs: 60 });
    expect(rulesBroken(({ ledger }) => ledger.reads.push(early))).toEqual([]);
  });

  it("and an answer that the platform is unavailable is none against it", () => {
    const away = read({ seen: "unavailable", status: 503, startMs: 70, endMs: 71 });
    expect(rulesBroken(({ ledger }) => ledger.reads.push(away))).toEqual([]);
  });
});

describe("one outcome", () => {
  const attempt2 = readOutcome({ ok: true, output: { inline: { ...OUTPUT, attempt: 2 } } });
  it.each<[string, (run: ReturnType<typeof goodRun>) => void]>([
    ["Temporal", ({ stores }) => Object.assign(stores.workflows[0] as object, { outcome: attempt2 })],
    ["PostgreSQL", ({ stores }) => Object.assign(stores.requests[0] as object, { outcome: attempt2 })],
    ["a webhook", ({ ledger }) => ledger.reads.push(result({ by: "webhook", result: "x", endMs: 90 }))],
    ["bytes", ({ ledger }) => ledger.reads.push(result({ bytes: "c", endMs: 90 }))],
    ["a status", ({ ledger }) => ledger.reads.push(read({ end: "runner_disconnected" }))],
  ])("is missed when %s has another one", (_where, change) => {
    expect(rulesBroken(change)).toContain("a job has one outcome");
  });
});

describe("nobody's jobs", () => {
  const call = { job: 0, tryNumber: 7, isFirst: false, gateway: 0, startMs: 1, endMs: 2 };
  const runs = ({ stores }: ReturnType<typeof goodRun>) =>
    stores.workflows.push({
      ...{ workflowId: OTHER, type: "inferenceJob", status: "TERMINATED" },
      webhookUrl: "http://receiver/webhook/0/7",
    });

  it("are found when no client sent them", () => {
    expect(rulesBroken(runs)).toEqual(["nobody's jobs"]);
  });

  it("are found when their submit was answered that nothing was queued", () => {
    const refused = { ...call, status: 503, requestId: OTHER, reason: "nothing was queued. Try again." };
    expect(
      rulesBroken((run) => {
        runs(run);
        run.ledger.submits.push(refused);
      }),
    ).toEqual(["nobody's jobs"]);
  });

  it.each([
    ["the answer left it open", { status: 503, requestId: OTHER, reason: "It is not known whether it was" }],
    ["no answer came", { reason: "UND_ERR_SOCKET" }],
  ])("may run when %s", (_why, answer) => {
    expect(
      rulesBroken((run) => {
        runs(run);
        run.ledger.submits.push({ ...call, ...answer });
      }),
    ).toEqual([]);
  });
});

describe("other rules", () => {
  it.each<[string, (run: ReturnType<typeof goodRun>) => void]>([
    ["accepted jobs end", ({ stores }) => stores.workflows.pop()],
    [
      "accepted jobs end",
      ({ stores }) => Object.assign(stores.workflows[0] as object, { status: "RUNNING" }),
    ],
    [
      "accepted jobs end",
      ({ stores }) => Object.assign(stores.requests[0] as object, { outcome: undefined }),
    ],
    ["usage is counted once", ({ stores }) => stores.usage.pop()],
    ["usage is counted once", ({ stores }) => stores.usage.push({ requestId: OTHER, ok: true, attempts: 1 })],
    ["webhooks arrive, signed, with one body", ({ ledger }) => ledger.webhooks.pop()],
    [
      "webhooks arrive, signed, with one body",
      ({ ledger }) => Object.assign(ledger.webhooks[0] as object, { isSigned: false }),
    ],
    ["one key is one request", ({ ledger }) => ledger.accept(0, OTHER)],
    [
      "jobs end as they should",
      ({ stores }) =>
        Object.assign(stores.requests[0] as object, {
          outcome: readOutcome({ ok: false, error: { code: "internal_error" } }),
        }),
    ],
    ["parts come back", ({ ledger }) => ledger.lost.push({ atMs: 1, text: "gateway-1 was not ready" })],
    ["no dead letters", ({ stores }) => stores.deadLetters.push({ requestId: ID, reason: "exhausted" })],
    [
      "equal seeds make equal images",
      ({ ledger }) =>
        ledger.images.push({ job: 0, pair: "p", digest: "1" }, { job: 1, pair: "p", digest: "2" }),
    ],
    [
      "answers are those of the contract",
      ({ ledger }) => ledger.reads.push(read({ seen: "odd", status: 500, reason: "internal_error" })),
    ],
  ])("%s", (rule, change) => {
    expect(rulesBroken(change)).toContain(rule);
  });
});
