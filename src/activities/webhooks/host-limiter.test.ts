import { describe, expect, it } from "vitest";
import { createHostGate } from "./host-limiter.ts";

const NEVER = new AbortController().signal;

it("a place is not lost with somebody who is called off in the moment of being let in", async () => {
  const gate = createHostGate({ inFlightMax: 1, waitingMax: 1, waitMs: 60_000 });
  const leave = await gate.enter("a", NEVER);
  const calledOff = new AbortController();
  const second = gate.enter("a", calledOff.signal);
  leave?.();
  calledOff.abort();
  await expect(second).rejects.toThrow();
  expect(await gate.enter("a", AbortSignal.timeout(500))).toBeTypeOf("function");
});

describe("room at a host", () => {
  it("ends with its line, host by host, and is there again when somebody leaves", async () => {
    const gate = createHostGate({ inFlightMax: 1, waitingMax: 1, waitMs: 60_000 });
    expect(gate.hasRoom("a")).toBe(true);
    const leave = await gate.enter("a", NEVER);
    expect(gate.hasRoom("a")).toBe(true); // in the line
    const second = gate.enter("a", NEVER);
    expect(gate.hasRoom("a")).toBe(false);
    expect(await gate.enter("a", NEVER)).toBeUndefined();
    expect(gate.hasRoom("b")).toBe(true);
    leave?.();
    expect(gate.hasRoom("a")).toBe(true);
    (await second)?.();
    expect(gate.hasRoom("a")).toBe(true);
  });
});
