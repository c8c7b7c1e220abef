/** The rule that an outcome is told only once it stands: in PostgreSQL, or in the history of its workflow. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createMemoryEventLog } from "../../adapters/memory/event-log.ts";
import type { ErrorCode } from "../../core/errors/catalogue.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { EventLog } from "../../core/requests/event-log.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Outcome } from "../../core/requests/request.ts";
import type { FinishedJob } from "../../core/requests/request-store.ts";
import { InferenceAttempt } from "./inference-attempt.ts";
import { createRecordOutcome, type EndedJob } from "./record-outcome.ts";

const JOB = {
  requestId: "r",
  ownerId: "ann",
  endpoint: "a/b",
  version: "1.0.0",
  taskQueue: "q",
  priority: "normal",
  input: { inline: {} },
  submittedAtMs: 0,
  retry: { attemptsMax: 3 },
  timeouts: { heartbeatMs: 10_000 },
} as unknown as JobSpec;
const output = (n: number): Outcome => ({ ok: true, output: { inline: { n } }, metrics: {} });
const ended = (n: number, over: Partial<EndedJob> = {}): EndedJob => ({
  job: JOB,
  outcome: output(n),
  attempts: n,
  exhausted: false,
  ...over,
});

/** The event log in memory, the outcome in PostgreSQL, and switches that make each of them unavailable. */
let memory: EventLog;
let recorded: Outcome | undefined;
let lines: unknown[];
let away: { events: boolean; requests: boolean };
let steps: string[];
let logged: [level: string, fields: object, message: string][];
beforeEach(() => {
  memory = createMemoryEventLog();
  recorded = undefined;
  lines = [];
  away = { events: false, requests: false };
  steps = [];
  logged = [];
});
afterEach(() => memory.close());

function unless<A extends unknown[], T>(
  store: keyof typeof away,
  work: (...args: A) => Promise<T>,
): (...args: A) => Promise<T> {
  return async (...args) => {
    if (away[store]) throw new TemperaError("store_unavailable");
    return work(...args);
  };
}

const stores = () => ({
  events: {
    append: unless("events", memory.append),
    read: unless("events", memory.read),
    outcome: unless("events", memory.outcome),
    complete: unless("events", async (job, outcome) => {
      steps.push("announced");
      return memory.complete(job, outcome);
    }),
  } as EventLog,
  requests: {
    find: unless("requests", async () => recorded && { outcome: recorded }),
    finish: unless("requests", async ({ outcome, logs }: FinishedJob) => {
      steps.push("recorded");
      if (!recorded) lines = logs;
      recorded ??= outcome;
      return recorded;
    }),
  } as never,
  objects: { delete: async () => {} } as never,
  files: { uncountObjects: async () => {} },
  logSearch: { index: async () => {} } as never,
  log: {
    info: (fields: object, message: string) => void logged.push(["info", fields, message]),
    warn: (fields: object, message: string) => void logged.push(["warn", fields, message]),
  },
  clock: { nowMs: () => 1 },
});
const record = (over: { isDurable?: boolean; fault?: string } = {}) =>
  createRecordOutcome({
    ...stores(),
    isDurable: () => over.isDurable === true,
    checkOutput: () => over.fault,
  });
const announced = async () => (await memory.outcome("r"))?.outcome;

describe("the finish step", () => {
  it("records first, then tells what is recorded", async () => {
    recorded = output(7);
    expect(await record()(ended(1))).toEqual(output(7));
    expect(steps).toEqual(["recorded", "announced"]);
    expect(await announced()).toEqual(output(7));
  });

  it("records the outcome that was told when PostgreSQL has lost it", async () => {
    await memory.complete(JOB, output(1));
    expect(await record()(ended(2))).toEqual(output(1));
    expect(recorded).toEqual(output(1));
  });

  it("records without the event log, and with its lines when it is there", async () => {
    away.events = true;
    expect(await record()(ended(1))).toEqual(output(1));
    away.events = false;
    recorded = undefined;
    await memory.append(JOB, { type: "log", attempt: 1, level: "INFO", message: "x" });
    await record()(ended(1));
    expect(lines).toHaveLength(1);
  });

  it("tells it again until the event log takes it, without keeping the job", async () => {
    vi.useFakeTimers();
    try {
      away.events = true;
      expect(await record()(ended(1))).toEqual(output(1));
      await vi.advanceTimersByTimeAsync(300);
      away.events = false;
      expect(await announced()).toBeUndefined();
      await vi.advanceTimersByTimeAsync(5_000);
      expect(await announced()).toEqual(output(1));
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it("tells nothing without PostgreSQL, since another attempt may have told another", async () => {
    away.requests = true;
    for (const isDurable of [false, true])
      await expect(record({ isDurable })(ended(2))).rejects.toMatchObject({ code: "store_unavailable" });
    await expect(record()(ended(1, { soleAttempt: true }))).rejects.toThrow();
    expect(await announced()).toBeUndefined();
  });

  it("tells an only attempt's outcome once Temporal has it, and records it later", async () => {
    away.requests = true;
    const finish = record({ isDurable: true });
    await expect(finish(ended(1, { soleAttempt: true }))).rejects.toMatchObject({
      code: "store_unavailable",
    });
    expect(await announced()).toEqual(output(1));
    away.requests = false;
    expect(await finish(ended(1, { soleAttempt: true }))).toEqual(output(1));
    expect(recorded).toEqual(output(1));
  });
});

describe("what the finish step logs", () => {
  const failed = (code: ErrorCode): Outcome => ({
    ok: false,
    error: { code, message: "why" },
    metrics: {},
  });
  const fields = { requestId: "r", endpoint: "a/b", version: "1.0.0", attempts: 1, reason: "why" };

  it.each([
    ["a failed job", "input_invalid", {}, "info", "failed"],
    ["a cancelled job", "client_cancelled", {}, "info", "cancelled"],
    ["a dead letter", "runner_disconnected", { exhausted: true }, "warn", "dead letter"],
    ["a pipeline whose code failed", "pipeline_failed", {}, "warn", "failed"],
  ] as const)("of %s", async (_, code, over, level, outcome) => {
    await record()(ended(1, { outcome: failed(code), ...over }));
    expect(logged).toEqual([[level, { ...fields, code, outcome }, expect.any(String)]]);
  });

  it("of a job with an output, nothing", async () => {
    await record()(ended(1));
    expect(logged).toEqual([]);
  });

  it("is the outcome that stands", async () => {
    recorded = output(1);
    await record()(ended(1, { outcome: failed("runner_disconnected") }));
    expect(logged).toEqual([]);
  });
});

describe("an attempt", () => {
  /** Runs attempt `n`, whose output names it. */
  function attempt(n: number) {
    const own = stores();
    const running = new InferenceAttempt(
      {
        ...own,
        engines: { run: async () => ({ output: { n }, inferenceMs: 1 }) },
        objects: { delete: async () => {}, get: async () => undefined, put: async () => {} },
        running: {
          track: () => ({ signal: new AbortController().signal, [Symbol.dispose]: () => {} }),
        },
        fetchInput: async (input: unknown) => ({
          input,
          files: [],
          [Symbol.asyncDispose]: async () => {},
        }),
        recordOutcome: createRecordOutcome(own),
        storeWait: { resultMs: 0, jobMs: 0 },
      } as never,
      {
        job: JOB,
        attempt: n,
        before: undefined,
        context: {
          cancellationSignal: new AbortController().signal,
          info: { attempt: n },
          heartbeat: () => {},
          log: { warn: () => {}, error: () => {} },
        } as never,
      },
    );
    return running.run().finally(() => running[Symbol.dispose]());
  }
  const withoutTimes = ({ outcome }: { outcome: Outcome }) => outcome.ok && outcome.output;

  it("returns its outcome unrecorded and unannounced while PostgreSQL is unavailable", async () => {
    away.requests = true;
    const result = await attempt(1);
    expect(result.recorded).toBe(false);
    expect(withoutTimes(result)).toEqual({ inline: { n: 1 } });
    expect(await announced()).toBeUndefined();
  });

  it("never puts another outcome beside one that was told", async () => {
    const first = await attempt(1);
    const firstAnnounced = await announced();
    expect(firstAnnounced).toEqual(first.outcome);
    // Temporal has not heard of it. The next attempt reaches neither store, then PostgreSQL alone.
    away = { events: true, requests: true };
    const second = await attempt(2);
    expect(second.recorded).toBe(false);
    away.requests = false;
    expect(await record()({ ...ended(2), outcome: second.outcome })).toEqual(firstAnnounced);
    away.events = false;
    expect(await announced()).toEqual(firstAnnounced);
    expect(recorded).toEqual(firstAnnounced);
  });

  it("tells nothing that a rival has told differently when PostgreSQL was away for the first", async () => {
    away.requests = true;
    const first = await attempt(1);
    // Its report to Temporal is lost, and the log is frozen while the second runs.
    away = { events: true, requests: false };
    const second = await attempt(2);
    away.events = false;
    expect(recorded).toEqual(second.outcome);
    expect(first.outcome).not.toEqual(second.outcome);
    expect(await announced()).toBeUndefined();
  });
});

describe("a pipeline's output that breaks its own schema", () => {
  it("is recorded, and named once in the request's log and in the orchestrator's", async () => {
    const fault = "The output of a/b 1.0.0 does not fit its own schema: output.n: Input should be a string";
    away.requests = true;
    await memory.append(JOB, { type: "queued", attempt: 0 });
    await expect(record({ fault })(ended(1))).rejects.toThrow();
    away.requests = false;
    expect(await record({ fault })(ended(1))).toEqual(output(1));
    expect(lines).toMatchObject([{ event: { type: "log", attempt: 1, level: "WARN", message: fault } }]);
    expect(logged.map(([level, , message]) => [level, message])).toEqual([["warn", fault]]);
  });
});
