import { expect, it } from "vitest";
import { conservativeClock } from "./clock.ts";

it("conservativeClock is never ahead of the store, nor of a machine whose clock is set forward", async () => {
  let now = 9_000;
  let passed = 50;
  const open = () =>
    conservativeClock({ nowMs: () => now }, { nowMs: async () => 1_000 }, { nowMs: () => passed });
  const ahead = await open();
  now = 500;
  const behind = await open();
  passed += 7;
  now = 99_000;
  expect([ahead.nowMs(), behind.nowMs()]).toEqual([1_007, 507]);
});
