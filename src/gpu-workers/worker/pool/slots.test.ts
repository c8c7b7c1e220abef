import { describe, expect, it } from "vitest";
import { createSlots } from "./slots.ts";

describe("slots", () => {
  const never = new AbortController().signal;

  it("gives slots in the order they were asked for, and counts", async () => {
    const slots = createSlots(2);
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

  it("lets go of a waiting one whose signal aborts, and refuses an aborted one", async () => {
    const slots = createSlots(1);
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
