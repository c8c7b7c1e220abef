import { afterEach, expect, it, vi } from "vitest";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { PoolStatus } from "../pool/engine-pool.ts";
import { PollScheduler } from "./poll-scheduler.ts";

const SLOTS = 4;

afterEach(() => void vi.useRealTimers());

const model = (version: string, memoryMiB = 100): ModelVersion =>
  ({ endpoint: "acme/echo", version, memoryMiB, pinned: false, slots: SLOTS }) as ModelVersion;

/** Starts the scheduler of a worker of 250 MiB whose polling is controlled by the test. */
async function start(
  models: ModelVersion[],
  { inHand = 0, waiting = 0, waitMaxMs = 10_000, failures = [] as Error[] } = {},
) {
  const did: string[] = [];
  let opened: Promise<void> | undefined;
  let looks = 0;
  const statuses: PoolStatus[] = [];
  let poolChanged = (): void => {};
  const scheduler = await PollScheduler.start({
    models,
    pool: {
      list: () => statuses,
      onChange: (listener) => {
        poolChanged = listener;
        return () => {};
      },
    },
    budgetMiB: 250,
    startPolling: async ({ version, slots }) => {
      did.push(slots === SLOTS ? `open ${version}` : `open ${version} for ${slots}`);
      await opened;
      const failure = failures.shift();
      if (failure) throw failure;
      return {
        inHand: () => inHand,
        drain: () => did.push(`drain ${version}`),
        stop: async () => void did.push(`stop ${version}`),
        ended: new Promise(() => {}),
      };
    },
    backlog: async () => {
      looks++;
      return waiting;
    },
    log: () => {},
    waitMaxMs,
  });
  return {
    scheduler,
    did,
    /** Changes what the pool says of a model. */
    setState(
      { endpoint, version, memoryMiB }: ModelVersion,
      state: PoolStatus["state"],
      { isOnTrial = false } = {},
    ): void {
      statuses.splice(0, 1, { endpoint, version, state, isOnTrial, needMiB: memoryMiB } as PoolStatus);
      poolChanged();
    },
    /** Number of times that a backlog was read. */
    looks: () => looks,
    /** Delays each opening from now on until the returned function is called. */
    holdOpening(): () => void {
      let release = (): void => {};
      opened = new Promise((resolve) => {
        release = resolve;
      });
      return release;
    },
  };
}

it("polls for an added model, and no longer for a removed one", async () => {
  const { scheduler, did } = await start([model("1.0.0")]);
  scheduler.add(model("1.1.0"));
  await expect.poll(() => scheduler.isPolled(model("1.1.0"))).toBe(true);
  await scheduler.remove(model("1.0.0"));
  expect(scheduler.isPolled(model("1.0.0"))).toBe(false);
  expect(did).toEqual(["open 1.0.0", "open 1.1.0", "stop 1.0.0"]);
  await scheduler.stop();
});

it("removes a model whose queue is still opening", async () => {
  const { scheduler, did, holdOpening } = await start([]);
  const release = holdOpening();
  scheduler.add(model("1.0.0"));
  const removed = scheduler.remove(model("1.0.0"));
  release();
  await removed;
  expect(did).toEqual(["open 1.0.0", "stop 1.0.0"]);
  await scheduler.stop();
});

const away = (): Error => new TemperaError("temporal_unavailable", "Temporal does not answer.");

it("starts once every queue can be polled, however often Temporal was away", async () => {
  vi.useFakeTimers();
  const starting = start([model("1.0.0")], { failures: [away(), away()] });
  await vi.runAllTimersAsync();
  const { scheduler, did } = await starting;
  vi.useRealTimers();
  expect(did).toEqual(["open 1.0.0", "open 1.0.0", "open 1.0.0"]);
  expect(scheduler.isPolled(model("1.0.0"))).toBe(true);
  await scheduler.stop();
});

it("goes on when Temporal is away while a queue is opened", async () => {
  const failures: Error[] = [];
  const { scheduler } = await start([model("1.0.0")], { failures });
  vi.useFakeTimers();
  failures.push(away());
  scheduler.add(model("1.1.0"));
  await vi.runAllTimersAsync();
  vi.useRealTimers();
  expect([model("1.0.0"), model("1.1.0")].map((each) => scheduler.isPolled(each))).toEqual([true, true]);
  await scheduler.stop();
  await expect(scheduler.ended).resolves.toBeUndefined();
});

it.each(["removes", "stops"] as const)("%s what cannot be opened", async (verb) => {
  const failures: Error[] = [];
  const { scheduler, did } = await start([], { failures });
  failures.push(...Array.from({ length: 100 }, away));
  scheduler.add(model("1.0.0"));
  if (verb === "removes") await scheduler.remove(model("1.0.0"));
  await scheduler.stop();
  await expect(scheduler.ended).resolves.toBeUndefined();
  expect(did).toEqual(["open 1.0.0"]);
});

it("ends when a queue cannot be polled for another reason than an outage", async () => {
  await expect(start([model("1.0.0")], { failures: [new Error("no such option")] })).rejects.toThrow(
    "no such option",
  );
});

it("gives the memory of a removed model to one that waited for it", async () => {
  const { scheduler, did } = await start([model("1.0.0", 200)]);
  scheduler.add(model("1.1.0", 200));
  await scheduler.remove(model("1.0.0"));
  await expect.poll(() => scheduler.isPolled(model("1.1.0"))).toBe(true);
  expect(did).toEqual(["open 1.0.0", "stop 1.0.0", "open 1.1.0"]);
  await scheduler.stop();
});

it("stops while a model is being removed", async () => {
  const { scheduler, holdOpening } = await start([]);
  const release = holdOpening();
  scheduler.add(model("1.0.0"));
  const removed = scheduler.remove(model("1.0.0"));
  const stopped = scheduler.stop();
  release();
  await Promise.all([removed, stopped]);
  expect(scheduler.isPolled(model("1.0.0"))).toBe(false);
});

it("drains a busy queue in time although the clock is set back", async () => {
  const { scheduler, did, looks } = await start([model("1.0.0", 200), model("1.1.0", 200)], {
    inHand: 1,
    waiting: 1,
    waitMaxMs: 1200,
  });
  await expect.poll(looks).toBeGreaterThan(1); // so that the first backlog has been noted
  const now = Date.now;
  const clock = vi.spyOn(Date, "now").mockImplementation(() => now() - 3_600_000);
  await expect.poll(() => did).toEqual(["open 1.0.0", "drain 1.0.0"]);
  clock.mockRestore();
  await scheduler.stop();
});

it("polls for an unhealthy model again to refuse its requests, without memory, until a reset", async () => {
  const sick = model("1.0.0", 200);
  const { scheduler, did, setState } = await start([sick, model("1.1.0", 200)]);
  setState(sick, "unhealthy");
  await expect.poll(() => did).toEqual(["open 1.0.0", "stop 1.0.0", "open 1.1.0"]);
  scheduler.refuse(new Set(["gpu/acme/echo/1.0.0"]));
  await expect.poll(() => scheduler.isPolled(sick)).toBe(true);
  expect(scheduler.isPolled(model("1.1.0"))).toBe(true);
  did.length = 0;
  setState(sick, "stopped");
  await expect.poll(() => scheduler.isPolled(sick)).toBe(false);
  // A request that came with the reset runs to its end.
  expect(did).toEqual(["drain 1.0.0", "stop 1.0.0"]);
  await scheduler.stop();
});

it("polls for a model that is larger than the worker only to refuse its requests", async () => {
  const large = model("1.0.0", 300);
  const { scheduler, did } = await start([large]);
  expect(did).toEqual([]);
  scheduler.refuse(new Set(["gpu/acme/echo/1.0.0"]));
  await expect.poll(() => scheduler.isPolled(large)).toBe(true);
  await scheduler.stop();
});

it("takes one request at a time of an unhealthy model on trial, all of one that works again", async () => {
  const sick = model("1.0.0");
  const { scheduler, did, setState } = await start([sick]);
  setState(sick, "unhealthy");
  await expect.poll(() => did).toEqual(["open 1.0.0", "stop 1.0.0"]);
  setState(sick, "unhealthy", { isOnTrial: true });
  await expect.poll(() => scheduler.isPolled(sick)).toBe(true);
  setState(sick, "unhealthy");
  await expect.poll(() => scheduler.isPolled(sick)).toBe(false);
  setState(sick, "unhealthy", { isOnTrial: true });
  await expect.poll(() => scheduler.isPolled(sick)).toBe(true);
  did.length = 0;
  setState(sick, "ready");
  await expect.poll(() => did).toEqual(["drain 1.0.0", "stop 1.0.0", "open 1.0.0"]);
  await scheduler.stop();
});

it("tries an unhealthy model although its requests are refused meanwhile", async () => {
  const sick = model("1.0.0");
  const { scheduler, did, setState } = await start([sick]);
  setState(sick, "unhealthy");
  scheduler.refuse(new Set(["gpu/acme/echo/1.0.0"]));
  await expect.poll(() => scheduler.isPolled(sick)).toBe(true);
  did.length = 0;
  setState(sick, "unhealthy", { isOnTrial: true });
  await expect.poll(() => did).toEqual(["drain 1.0.0", "stop 1.0.0", "open 1.0.0 for 1"]);
  await scheduler.stop();
});
