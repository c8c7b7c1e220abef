import { PassThrough } from "node:stream";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { WebSocket } from "ws";
import { LIMITS } from "../../core/limits.ts";
import { Budget } from "../limits/budget.ts";
import { countArrivingMessages } from "./arriving-messages.ts";

let bodies: Budget;
beforeEach(() => {
  vi.useFakeTimers();
  bodies = new Budget({ things: "bytes", remedy: "", ofOwner: () => 1e9 });
});
afterEach(() => void vi.useRealTimers());

/** A socket that gets pieces of messages, as if from the network. */
function open() {
  const socket = new PassThrough();
  const events = new PassThrough();
  const close = vi.fn();
  const pause = vi.fn();
  const ws = Object.assign(events, { readyState: WebSocket.OPEN, close, pause, terminate: vi.fn() });
  const hold = bodies.acquire("ann", 0);
  countArrivingMessages(ws as unknown as WebSocket, socket, hold);
  const receive = (bytes: number, isLast = false): void => {
    if (isLast) events.emit("message");
    socket.emit("data", Buffer.alloc(bytes));
  };
  return { socket, events, close, pause, hold, receive };
}

it("closes a socket whose message does not arrive in time, and no other", async () => {
  const [stalled, slow, idle] = [open(), open(), open()];
  idle.receive(1_000_000);
  idle.receive(10, true);
  stalled.receive(1_000_000);
  for (let window = 0; window < 5; window++) {
    slow.receive(LIMITS.bodyWindowBytesMin);
    await vi.advanceTimersByTimeAsync(LIMITS.bodyWindowMs);
  }
  expect(stalled.close).toHaveBeenCalledExactlyOnceWith(1008, "The message did not arrive in time.");
  expect(stalled.pause).toHaveBeenCalled();
  expect(slow.close).not.toHaveBeenCalled();
  expect(idle.close).not.toHaveBeenCalled();
  for (const { events } of [stalled, slow, idle]) events.emit("close");
  expect(vi.getTimerCount()).toBe(0);
});

it("does not expect more of a message while the socket is not read", async () => {
  const { socket, receive, close, events } = open();
  receive(1_000_000);
  socket.pause();
  await vi.advanceTimersByTimeAsync(3 * LIMITS.bodyWindowMs);
  socket.resume();
  await vi.advanceTimersByTimeAsync(LIMITS.bodyWindowMs);
  expect(close).not.toHaveBeenCalled();
  await vi.advanceTimersByTimeAsync(LIMITS.bodyWindowMs);
  expect(close).toHaveBeenCalledExactlyOnceWith(1008, "The message did not arrive in time.");
  events.emit("close");
});

it("does not count the control frames of a socket that sends nothing else", () => {
  const { events, receive, hold } = open();
  for (let n = 0; n < 10_000; n++) {
    events.emit(n % 2 ? "ping" : "pong", Buffer.alloc(4));
    receive(10);
  }
  expect(hold.amount).toBe(0);
});

it("counts the pieces of a message until it has ended", () => {
  const { receive, hold } = open();
  receive(1000);
  receive(1000);
  expect(hold.amount).toBeGreaterThanOrEqual(2000);
  receive(10, true);
  expect(hold.amount).toBe(0);
});

it("counts nothing once the socket has closed and its part of the budget was given back", () => {
  const { events, receive, hold } = open();
  receive(1000);
  hold[Symbol.dispose]();
  events.emit("close");
  expect(() => receive(1000)).not.toThrow();
  expect([bodies.held, vi.getTimerCount()]).toEqual([0, 0]);
});
