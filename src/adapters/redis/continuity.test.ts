import { EventEmitter } from "node:events";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { RedisConnection } from "./connection.ts";
import { Continuity } from "./continuity.ts";
import type { Listener } from "./subscriptions.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("listens for refusals of others, although Redis answered the first subscription late", async () => {
  const client = Object.assign(new EventEmitter(), {
    status: "ready",
    time: async () => [1, 0],
    set: async () => "OK",
  });
  const unavailable = (why: string) => new TemperaError("store_unavailable", `Redis ${why}.`);
  const redis = { client, unavailable, answer: (command: unknown) => command } as unknown as RedisConnection;
  const listeners: Listener[] = [];
  let subscribed = 0;
  const subscribe = async (_: string, listener: Listener) => {
    subscribed++;
    if (subscribed === 1) throw unavailable("has not answered in 900 ms");
    listeners.push(listener);
    return async () => {};
  };
  const subscriptions = { subscribe, subscribeBytes: vi.fn(), close: vi.fn() };
  const continuity = new Continuity(redis, { answerMs: 900, prefix: "p:", subscriptions });
  const refusals: TemperaError[] = [];
  continuity.onRefusal((error) => refusals.push(error));

  client.emit("ready");
  await vi.advanceTimersByTimeAsync(900);
  for (const listener of listeners) listener.message?.("");
  expect(refusals).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(subscribed).toBe(2);
  continuity.close();
});

it("doubts what Redis performs until the last writes from before an interruption are performed", async () => {
  const client = Object.assign(new EventEmitter(), {
    status: "ready",
    time: async () => [7, 0],
    set: async () => "OK",
  });
  const redis = { client, answer: (command: unknown) => command } as unknown as RedisConnection;
  const subscriptions = {
    subscribe: vi.fn(async () => async () => {}),
    subscribeBytes: vi.fn(),
    close: vi.fn(),
  };
  const continuity = new Continuity(redis, { answerMs: 900, prefix: "p:", subscriptions });
  expect(continuity.deadlineMs()).toBeUndefined();
  client.emit("ready");
  await vi.advanceTimersByTimeAsync(0);
  expect(continuity.doubtAbout(7_899)).toEqual(expect.any(Number));
  expect(continuity.doubtAbout(7_900)).toBeUndefined();
  expect(continuity.deadlineMs()).toBe(7_900);
  continuity.close();
});
