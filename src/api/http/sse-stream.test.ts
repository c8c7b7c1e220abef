import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { sseStream } from "./sse-stream.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("leaves no timer running when the events throw", async () => {
  async function* broken(): AsyncGenerator<string> {
    yield ": open\n\n";
    throw new Error("broken");
  }
  const reader = sseStream(broken(), new AbortController()).getReader();
  expect((await reader.read()).done).toBe(false);
  await expect(reader.read()).rejects.toThrow("broken");
  expect(vi.getTimerCount()).toBe(0);
});

it("sends a byte at least every 5 s while nothing happens", async () => {
  const reader = sseStream(silence(), new AbortController()).getReader();
  for (let pings = 0; pings < 10; pings += 1) {
    const read = reader.read();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(new TextDecoder().decode((await read).value)).toBe(": ping\n\n");
  }
  await reader.cancel();
  expect(vi.getTimerCount()).toBe(0);
});

/** Events that never come. */
async function* silence(): AsyncGenerator<string> {
  yield await new Promise<never>(() => {});
}
