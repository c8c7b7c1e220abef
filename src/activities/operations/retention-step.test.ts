import { asyncLocalStorage, type Context } from "@temporalio/activity";
import { expect, it } from "vitest";
import { sweepFrom } from "../../core/operations/retention.ts";
import { createRetentionStep } from "./retention-step.ts";

it("sends heartbeats with its progress while one batch takes long", async () => {
  const beats: unknown[] = [];
  let longEnough = (): void => {};
  const slow = new Promise<void>((resolve) => {
    longEnough = resolve;
  });
  const none = async (): Promise<[]> => [];
  const step = createRetentionStep({
    retention: {
      nowMs: async () => 0,
      // A store that takes long for one batch.
      ownerTimes: () => slow.then(() => new Map()),
      owners: none,
      count: async () => {},
      deleteCachedResults: async () => 0,
    },
    objects: { list: none },
    policy: {
      requestMs: null,
      payloadMs: null,
      logMs: null,
      artifactMs: null,
      uploadMs: null,
      usageMs: null,
    },
    clock: { nowMs: () => 0 },
    heartbeatMs: 5,
  } as unknown as Parameters<typeof createRetentionStep>[0]);
  const context = {
    cancellationSignal: new AbortController().signal,
    info: {},
    heartbeat: (progress: unknown) => {
      beats.push(progress);
      if (beats.length === 3) longEnough();
    },
  } as unknown as Context;
  const done = await asyncLocalStorage.run(context, () => step(sweepFrom("expired")));
  expect(beats.slice(0, 3)).toEqual(Array.from({ length: 3 }, () => sweepFrom("expired")));
  expect(done).toMatchObject({ done: true, deleted: {} });
});
