import { describe, expect, it } from "vitest";
import { DeviceMemory } from "./device-memory.ts";

const never = new AbortController().signal;
const noRoom = () => Promise.reject(new Error("there is enough memory"));

describe("device memory", () => {
  it("reserves at once what is free, and counts what is reserved", async () => {
    const memory = new DeviceMemory(100);
    const reservation = await memory.reserve(70, noRoom, never);
    expect(memory.freeMiB).toBe(30);
    reservation.resize(120);
    expect(memory.freeMiB).toBe(-20);
    reservation.release();
    reservation.release();
    expect(memory.freeMiB).toBe(100);
  });

  it("makes room until enough is free, for one reservation after another", async () => {
    const memory = new DeviceMemory(100);
    const first = await memory.reserve(100, noRoom, never);
    const order: string[] = [];
    let makeRoom = (): void => {};
    const wait = () =>
      new Promise<void>((resolve) => {
        makeRoom = resolve;
      });
    const large = memory.reserve(100, wait, never).then((reservation) => {
      order.push("large");
      reservation.release();
    });
    const small = memory.reserve(10, wait, never).then(() => order.push("small"));
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual([]);
    first.release();
    makeRoom();
    await Promise.all([large, small]);
    expect(order).toEqual(["large", "small"]);
  });

  it("rejects at an abort, and lets the next reservation proceed", async () => {
    const memory = new DeviceMemory(100);
    const first = await memory.reserve(100, noRoom, never);
    const controller = new AbortController();
    let makeRoom = (): void => {};
    const wait = () =>
      new Promise<void>((resolve) => {
        makeRoom = resolve;
      });
    const aborted = expect(memory.reserve(50, wait, controller.signal)).rejects.toThrow("enough");
    const next = memory.reserve(50, noRoom, never);
    await new Promise((resolve) => setImmediate(resolve));
    first.release();
    controller.abort(new Error("enough"));
    makeRoom();
    await aborted;
    await next;
    expect(memory.freeMiB).toBe(50);
  });
});
