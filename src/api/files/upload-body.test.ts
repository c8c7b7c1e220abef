import { Hono } from "hono";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { LIMITS } from "../../core/limits.ts";
import { uploadBody } from "./upload-body.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/**
 * Reads a body that sends `count` bytes, one every `everyMs`. Resolves with the number that came, or the code
 * of the error.
 */
async function receive(everyMs: number, count: number): Promise<{ code: string } | number> {
  let left = count;
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, everyMs));
        if (left-- > 0) controller.enqueue(new Uint8Array(1));
        else controller.close();
      },
    },
    { highWaterMark: 0 },
  );
  let result: { code: string } | number = 0;
  const app = new Hono();
  app.put("/", async (c) => {
    let bytes = 0;
    try {
      for await (const chunk of uploadBody(c, count).stream) bytes += (chunk as Buffer).length;
      result = bytes;
    } catch (error) {
      result = { code: (error as { code: string }).code };
    }
    return c.text("");
  });
  const headers = { "content-length": String(count) };
  const response = app.request("/", { method: "PUT", body, headers, duplex: "half" } as RequestInit);
  while (vi.getTimerCount() > 0 || result === 0) await vi.advanceTimersByTimeAsync(everyMs);
  await response;
  return result;
}

const MINUTE = 60_000;

it("accepts an upload that takes longer than any other request may", async () =>
  expect(await receive(MINUTE / 2, 60)).toBe(60));

it("interrupts an upload that trickles once its time is over", async () => {
  const startedAtMs = Date.now();
  expect(await receive(MINUTE / 2, 1000)).toEqual({ code: "upload_interrupted" });
  expect(Date.now() - startedAtMs).toBeLessThan(LIMITS.uploadBodyMs + 2 * MINUTE);
});

it("interrupts an upload that sends nothing for a while before that", async () => {
  const startedAtMs = Date.now();
  expect(await receive(LIMITS.uploadSilenceMs + 1000, 3)).toEqual({ code: "upload_interrupted" });
  expect(Date.now() - startedAtMs).toBeLessThan(3 * LIMITS.uploadSilenceMs);
});
