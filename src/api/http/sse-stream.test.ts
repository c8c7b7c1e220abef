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
