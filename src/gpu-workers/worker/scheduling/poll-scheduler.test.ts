import { expect, it, vi } from "vitest";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { PoolStatus } from "../pool/engine-pool.ts";
import { startQueueTurns } from "./poll-scheduler.ts";

const model = (version: string, memoryMiB = 100): ModelVersion =>
  ({ endpoint: "acme/echo", version, memoryMiB, pinned: false, slots: 1 }) as ModelVersion;

/** Turns of a worker of 250 MiB whose pollings are in the test's hands. */
async function start(models: ModelVersion[], { inHand = 0, waiting = 0, turnMs = 10_000 } = {}) {
  const did: string[] = [];
  let opened: Promise<void> | undefined;
  let looks = 0;
  const turns = await startQueueTurns({
    models,
    pool: { list: () => [] as PoolStatus[], onChange: () => () => {} },
    budgetMiB: 250,
    startPolling: async ({ version }) => {
      did.push(`open ${version}`);
      await opened;
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
    turnMs,
  });
  return {
    turns,
    did,
    /** How often it was looked for what waits. */
    looks: () => looks,
    /** What is opened from now on takes until the returned function is called. */
    holdOpening(): () => void {
      let release = (): void => {};
      opened = new Promise((resolve) => {
        release = resolve;
      });
      return release;
    },
  };
}

it("polls for a model that is added, and no more for one that is removed", async () => {
  const { turns, did } = await start([model("1.0.0")]);
  turns.add(model("1.1.0"));
  await expect.poll(() => turns.polled(model("1.1.0"))).toBe(true);
  await turns.remove(model("1.0.0"));
  expect(turns.polled(model("1.0.0"))).toBe(false);
  expect(did).toEqual(["open 1.0.0", "open 1.1.0", "stop 1.0.0"]);
  await turns.stop();
});

it("removes one whose polling is only just being opened", async () => {
  const { turns, did, holdOpening } = await start([]);
  const release = holdOpening();
  turns.add(model("1.0.0"));
  const removed = turns.remove(model("1.0.0"));
  release();
  await removed;
  expect(did).toEqual(["open 1.0.0", "stop 1.0.0"]);
  await turns.stop();
});

it("gives the room of a removed model to one that waited for it", async () => {
  const { turns, did } = await start([model("1.0.0", 200)]);
  turns.add(model("1.1.0", 200));
  await turns.remove(model("1.0.0"));
  await expect.poll(() => turns.polled(model("1.1.0"))).toBe(true);
  expect(did).toEqual(["open 1.0.0", "stop 1.0.0", "open 1.1.0"]);
  await turns.stop();
});

it("comes to an end while a model is being removed", async () => {
  const { turns, holdOpening } = await start([]);
  const release = holdOpening();
  turns.add(model("1.0.0"));
  const removed = turns.remove(model("1.0.0"));
  const stopped = turns.stop();
  release();
  await Promise.all([removed, stopped]);
  expect(turns.polled(model("1.0.0"))).toBe(false);
});

it("a clock that is set back keeps nobody waiting longer", async () => {
  const { turns, did, looks } = await start([model("1.0.0", 200), model("1.1.0", 200)], {
    inHand: 1,
    waiting: 1,
    turnMs: 1200,
  });
  await expect.poll(looks).toBeGreaterThan(1); // so that the first one has been noted
  const now = Date.now;
  const clock = vi.spyOn(Date, "now").mockImplementation(() => now() - 3_600_000);
  await expect.poll(() => did, { timeout: 4000 }).toEqual(["open 1.0.0", "drain 1.0.0"]);
  clock.mockRestore();
  await turns.stop();
});
