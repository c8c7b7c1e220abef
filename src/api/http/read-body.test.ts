import { Hono } from "hono";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { readJsonBody } from "./read-body.ts";

/** Reads a body under a limit; resolves with its value or with the error. */
async function read(
  body: string | Uint8Array | ReadableStream<Uint8Array> | undefined,
  { bytesMax = 1000, headers = {} }: { bytesMax?: number; headers?: Record<string, string> } = {},
): Promise<unknown> {
  let result: unknown;
  const app = new Hono();
  app.post("/", async (c) => {
    result = await readJsonBody(c, bytesMax).catch((error: { code: string; message: string }) => ({
      code: error.code,
      message: error.message,
    }));
    return c.text("");
  });
  await app.request("/", {
    method: "POST",
    headers,
    ...(body !== undefined && { body, duplex: "half" }),
  } as RequestInit);
  return result as Json;
}

/** A body of undeclared length. `taken` counts the bytes that were read from it. */
function stream(chunk: Uint8Array, count: number) {
  const state = { taken: 0 };
  let left = count;
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (left-- === 0) return controller.close();
        state.taken += chunk.length;
        controller.enqueue(chunk);
      },
    },
    { highWaterMark: 0 },
  );
  return { body, state };
}

describe("a body", () => {
  it("reads the same with and without a declared length, also behind a byte order mark", async () => {
    const bytes = new TextEncoder().encode('\ufeff{"a":"é"}');
    expect(await read(bytes, { headers: { "content-length": String(bytes.length) } })).toEqual({ a: "é" });
    expect(await read(stream(bytes, 1).body)).toEqual({ a: "é" });
  });

  it.each([
    ['{"a":1}', { a: 1 }],
    ["[1]", [1]],
    ["null", null],
    ['"é😀"', "é😀"],
    ["", {}],
    [" \n ", {}],
  ])("%j is read", async (text, value) => {
    expect(await read(text, { headers: { "content-length": String(Buffer.byteLength(text)) } })).toEqual(
      value,
    );
    expect(await read(text)).toEqual(value);
  });

  it("that is absent is an empty object", async () => expect(await read(undefined)).toEqual({}));

  it.each(["{", "{'a':1}", "prompt=x", "<xml/>", '{"a":NaN}', '{"a":1}}', "\u0000"])(
    "%j is not JSON",
    async (text) =>
      expect(await read(text)).toMatchObject({
        code: "body_not_json",
        message: expect.stringMatching(/^The body is not valid JSON: /),
      }),
  );

  it("of bytes that are not text is read with replacement characters", async () =>
    expect(await read(new Uint8Array([0x22, 0xff, 0xfe, 0x22]))).toBe("\ufffd\ufffd"));

  it("is read across chunks that split characters", async () => {
    const bytes = Buffer.from('{"a":"é漢😀"}');
    const body = new ReadableStream({
      start(controller) {
        for (const byte of bytes) controller.enqueue(new Uint8Array([byte]));
        controller.close();
      },
    });
    expect(await read(body)).toEqual({ a: "é漢😀" });
  });
});

describe("a body that is too large", () => {
  const json = (bytes: number): string => `"${"a".repeat(bytes - 2)}"`;

  it("is refused one byte above the limit, with a declared length or without", async () => {
    expect(await read(json(1000))).toHaveLength(998);
    expect(await read(json(1000), { headers: { "content-length": "1000" } })).toHaveLength(998);
    expect(await read(json(1001), { headers: { "content-length": "1001" } })).toMatchObject({
      code: "body_too_large",
    });
    expect(await read(stream(Buffer.from("aaaaaaaaaa"), 101).body)).toMatchObject({ code: "body_too_large" });
  });

  it("is refused with the number of bytes that are accepted", async () =>
    expect(await read(json(2000))).toMatchObject({ message: expect.stringContaining("1,000 bytes") }));

  it("is read up to a bound, so that its caller gets the answer", async () => {
    const { body, state } = stream(new Uint8Array(100), 1_000_000);
    expect(await read(body)).toMatchObject({ code: "body_too_large" });
    expect(state.taken).toBeGreaterThan(2000);
    expect(state.taken).toBeLessThan(20_000);
  });

  it("is refused although its declared length is not a number", async () =>
    expect(await read(json(2000), { headers: { "content-length": "small" } })).toMatchObject({
      code: "body_too_large",
    }));
});

describe("a body that does not arrive", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it.each([{}, { "content-length": "100" }])("is refused after its time, headers %j", async (headers) => {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(Buffer.from("{")),
    });
    const reading = read(body, { headers: headers as Record<string, string> });
    await vi.advanceTimersByTimeAsync(LIMITS.bodyMs + 1);
    expect(await reading).toMatchObject({ code: "request_body_timeout" });
  });
});

describe("a body that would take too long to parse", () => {
  it.each([
    ["[".repeat(900), "recursion_loop"],
    [
      `[${Array(LIMITS.inputValuesMax + 1)
        .fill(1)
        .join()}]`,
      "sequence_too_long",
    ],
  ])("is refused before it is parsed, %#", async (text, type) => {
    let faults: unknown;
    const app = new Hono();
    app.post("/", async (c) => {
      faults = await readJsonBody(c, 10_000_000).catch((error) => error.faults);
      return c.text("");
    });
    await app.request("/", { method: "POST", body: text });
    expect(faults).toMatchObject([{ loc: ["body"], type }]);
  });
});
