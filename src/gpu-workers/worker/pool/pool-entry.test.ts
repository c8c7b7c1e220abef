import { describe, expect, it } from "vitest";
import type { ModelVersion } from "../../../core/models/model.ts";
import { PoolEntry } from "./pool-entry.ts";

const slotsOf = (count: number) => new PoolEntry({ slots: count, timeouts: {} } as ModelVersion).slots;

describe("slots of a pool entry", () => {
  const never = new AbortController().signal;

  it("are granted in the order of the requests, and counted", async () => {
    const slots = slotsOf(2);
    const [one, two] = [await slots.acquire(never), await slots.acquire(never)];
    const order: string[] = [];
    const next = async (name: string) => {
      const release = await slots.acquire(never);
      order.push(name);
      return release;
    };
    const [third, fourth] = [next("third"), next("fourth")];
    expect([slots.running, slots.waiting]).toEqual([2, 2]);
    two();
    two();
    await third;
    expect(order).toEqual(["third"]);
    expect([slots.running, slots.waiting]).toEqual([2, 1]);
    one();
    (await fourth)();
    (await third)();
    expect([slots.running, slots.waiting]).toEqual([0, 0]);
  });

  it("reject a waiting request whose signal aborts, and one whose signal has aborted", async () => {
    const slots = slotsOf(1);
    const release = await slots.acquire(never);
    const controller = new AbortController();
    const waiting = slots.acquire(controller.signal);
    controller.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    await expect(slots.acquire(controller.signal)).rejects.toThrow("enough");
    release();
    expect([slots.running, slots.waiting]).toEqual([0, 0]);
  });
});
