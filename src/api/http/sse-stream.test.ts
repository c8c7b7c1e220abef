import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { sseStream } from "./sse-stream.ts";

/** Counts the times that the end of a stream was noted. */
let ends: number;
const open = { [Symbol.dispose]: () => void ends++ };
beforeEach(() => {
  vi.useFakeTimers();
  ends = 0;
});
afterEach(() => void vi.useRealTimers());

it("leaves nothing behind when the events throw", async () => {
  async function* broken(): AsyncGenerator<string> {
    yield ": open\n\n";
    throw new Error("broken");
  }
  const reader = sseStream(broken(), new AbortController(), open).getReader();
  expect((await reader.read()).done).toBe(false);
  await expect(reader.read()).rejects.toThrow("broken");
  expect(vi.getTimerCount()).toBe(0);
  expect(ends).toBe(1);
});

it("sends a byte at least every 5 s while nothing happens", async () => {
  const reader = sseStream(silence(), new AbortController(), open).getReader();
  for (let pings = 0; pings < 10; pings += 1) {
    const read = reader.read();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(new TextDecoder().decode((await read).value)).toBe(": ping\n\n");
  }
  expect(ends).toBe(0);
  await reader.cancel();
  expect(vi.getTimerCount()).toBe(0);
  expect(ends).toBe(1);
});

it("notes the end that its events come to", async () => {
  async function* one(): AsyncGenerator<string> {
    yield ": open\n\n";
  }
  const reader = sseStream(one(), new AbortController(), open).getReader();
  while (!(await reader.read()).done) expect(ends).toBe(0);
  expect(ends).toBe(1);
});

/** Events that never come. */
async function* silence(): AsyncGenerator<string> {
  yield await new Promise<never>(() => {});
}
