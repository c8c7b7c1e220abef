import { describe, expect, it } from "vitest";
import { createHostLimiter } from "./host-limiter.ts";

const NEVER = new AbortController().signal;

it("a place is not lost with somebody who is called off in the moment of being let in", async () => {
  const gate = createHostLimiter({ inFlightMax: 1, waitingMax: 1, waitMs: 60_000 });
  const leave = await gate.acquire("a", NEVER);
  const calledOff = new AbortController();
  const second = gate.acquire("a", calledOff.signal);
  leave?.();
  calledOff.abort();
  await expect(second).rejects.toThrow();
  expect(await gate.acquire("a", AbortSignal.timeout(500))).toBeTypeOf("function");
});

describe("room at a host", () => {
  it("ends with its line, host by host, and is there again when somebody leaves", async () => {
    const gate = createHostLimiter({ inFlightMax: 1, waitingMax: 1, waitMs: 60_000 });
    expect(gate.hasCapacity("a")).toBe(true);
    const leave = await gate.acquire("a", NEVER);
    expect(gate.hasCapacity("a")).toBe(true); // in the line
    const second = gate.acquire("a", NEVER);
    expect(gate.hasCapacity("a")).toBe(false);
    expect(await gate.acquire("a", NEVER)).toBeUndefined();
    expect(gate.hasCapacity("b")).toBe(true);
    leave?.();
    expect(gate.hasCapacity("a")).toBe(true);
    (await second)?.();
    expect(gate.hasCapacity("a")).toBe(true);
  });
});
