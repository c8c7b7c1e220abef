import type { ApplicationFailure } from "@temporalio/activity";
import { describe, expect, it, vi } from "vitest";
import { sleep } from "../../core/concurrency/sleep.ts";
import { RunHandedOver, RunTurnedAway } from "../../core/engines/engine.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PreviousAttempts } from "../../core/requests/job.ts";
import { attemptFailure, InferenceAttempt } from "./inference-attempt.ts";

it.each([
  [undefined, undefined],
  [7_000, 7_000],
  [24 * 3600 * 1000, LIMITS.attemptDelayMsMax],
])("an error that may be retried after %s ms delays the next attempt by %s ms", (retryAfterMs, delayMs) => {
  const info = {
    code: "file_unavailable" as const,
    message: "The host answers 503.",
    ...(retryAfterMs && { retryAfterMs }),
  };
  const failure = attemptFailure({ info, retryable: true }, 1);
  expect([failure.type, failure.nonRetryable, failure.nextRetryDelay]).toEqual([
    "file_unavailable",
    false,
    delayMs,
  ]);
});

/** Carries out an attempt that fails, and returns its failure. */
async function failureOf(
  { fetchInput, run }: { fetchInput?: () => Promise<never>; run?: () => Promise<never> },
  before: PreviousAttempts,
): Promise<ApplicationFailure> {
  const { signal } = new AbortController();
  const dependencies = {
    clock: { nowMs: () => 0 },
    events: { append: async () => {} },
    objects: { delete: async () => {}, get: async () => undefined },
    running: { track: () => ({ signal, [Symbol.dispose]: () => {} }) },
    fetchInput: fetchInput ?? (async () => ({ input: {}, files: [], [Symbol.asyncDispose]: async () => {} })),
    engines: { run },
    storeWait: { resultMs: 0, jobMs: 900_000 },
  };
  const job = {
    ...{ requestId: "r", ownerId: "ann", endpoint: "a/b", version: "1.0.0", taskQueue: "q" },
    ...{ input: { inline: {} }, submittedAtMs: 0, retry: { attemptsMax: 3 } },
    timeouts: { heartbeatMs: 10_000, runMs: 600_000 },
  };
  const log = { warn: () => {}, error: () => {} };
  const context = { cancellationSignal: signal, info: { attempt: 1 }, heartbeat: () => {}, log };
  using attempt = new InferenceAttempt(
    dependencies as never,
    { job, attempt: before.attempts + 1, before, context } as never,
  );
  return await attempt.run().catch((error) => error);
}

/** Returns the third detail of the failure. */
async function verdictOn(...start: Parameters<typeof failureOf>): Promise<unknown> {
  return (await failureOf(...start)).details?.[2];
}

describe("an attempt that is handed over", () => {
  const drained = () => Promise.reject(new RunHandedOver("The worker is drained."));
  const before = (handOvers: number, times: number) => ({
    ...{ attempts: handOvers, handOvers, started: true },
    storeWaits: { times, waitedMs: 0 },
  });

  it("uses up no attempt, however often its job has waited for a store", async () => {
    const waits = LIMITS.handOversMax + 50;
    const handedOver = { handedOver: true, started: true };
    expect(await verdictOn({ run: drained }, before(waits, waits))).toEqual(handedOver);
    expect(await verdictOn({ run: drained }, before(waits + LIMITS.handOversMax, waits))).toBeUndefined();
  });

  it("comes back after a pause when it has to be alone on its engine, however often", async () => {
    const run = () => Promise.reject(new RunTurnedAway("Enough requests wait."));
    const waits = LIMITS.handOversMax + 50;
    expect(await verdictOn({ run }, before(waits, waits))).toEqual({
      ...{ handedOver: true, started: true },
      storeWait: { delayMs: 30_000, storeWaits: { times: waits + 1, waitedMs: 0 } },
    });
  });

  it("ends at its second attempt that the memory of a device did not suffice for", async () => {
    const full = new TemperaError("runner_out_of_memory", "cuda:0 has too little memory.");
    const run = () => Promise.reject(full);
    expect(await failureOf({ run }, before(0, 0))).toMatchObject({ nonRetryable: false });
    // Hand-overs to other workers count for nothing.
    expect(await failureOf({ run }, before(3, 3))).toMatchObject({ nonRetryable: false });
    const second = { ...before(3, 3), attempts: 4 };
    expect(await failureOf({ run }, second)).toMatchObject({
      ...{ nonRetryable: true, type: "runner_out_of_memory", message: "cuda:0 has too little memory." },
    });
  });

  it("ends at once when its owner has crashed too many engines, as a dead letter", async () => {
    const limit = new TemperaError("engine_crash_limit", "Too many.", { retryAfterMs: 3_000_000 });
    const run = () => Promise.reject(limit);
    expect(await verdictOn({ run }, before(0, 0))).toEqual({ exhausted: true });
  });

  it("counts the time of a read that hangs among the waits of its job", async () => {
    vi.useFakeTimers();
    try {
      const away = new TemperaError("store_unavailable", "It is away.", { store: "object store" });
      const fetchInput = async () => {
        await sleep(20_000);
        throw away;
      };
      const verdict = verdictOn({ fetchInput }, before(1, 1));
      await vi.advanceTimersByTimeAsync(20_000);
      expect(await verdict).toMatchObject({
        storeWait: { delayMs: 2_000, storeWaits: { times: 2, waitedMs: 22_000 } },
      });
    } finally {
      vi.useRealTimers();
    }
  });
});
