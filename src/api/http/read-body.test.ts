import { EventEmitter, once } from "node:events";
import { connect } from "node:net";
import { brotliCompressSync, constants, deflateRawSync, deflateSync, gzipSync } from "node:zlib";
import { Hono, type MiddlewareHandler } from "hono";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { Budget } from "../limits/budget.ts";
import { Turns } from "../limits/turns.ts";
import { answerError } from "./answer-error.ts";
import { setBodyShare } from "./body-share.ts";
import { listen } from "./listen.ts";
import { readJsonBody } from "./read-body.ts";

/** The most bytes that the bodies of an owner may take. */
let heldMax: number;
let budget: Budget;
const turns = new Turns();
beforeEach(() => {
  heldMax = Number.POSITIVE_INFINITY;
  budget = new Budget({ things: "bytes", remedy: "", ofOwner: () => heldMax });
});
const withBudget: MiddlewareHandler = async (c, next) => {
  using hold = budget.acquire("ann", 0);
  setBodyShare(c, { hold, turns, sender: "ann" });
  await next();
};

/** Reads a body under a limit; resolves with its value or with the error. */
async function read(
  body: string | Uint8Array | ReadableStream<Uint8Array> | undefined,
  { bytesMax = 1000, headers = {} }: { bytesMax?: number; headers?: Record<string, string> } = {},
): Promise<unknown> {
  let result: unknown;
  const app = new Hono();
  app.post("/", withBudget, async (c) => {
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
    await vi.advanceTimersByTimeAsync(LIMITS.bodyWindowMs);
    expect(await reading).toMatchObject({ code: "request_body_timeout" });
  });

  /** Sends `bytes` in each of so many windows. Resolves with the result and the windows that passed. */
  async function trickle(bytes: number, windows: number) {
    let sending: ReadableStreamDefaultController<Uint8Array> | undefined;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        sending = controller;
      },
    });
    let result: unknown;
    const reading = read(body, { bytesMax: 1e9 }).then((value) => (result = value));
    let passed = 0;
    for (; passed < windows && result === undefined; passed++) {
      sending?.enqueue(Buffer.alloc(bytes, 32));
      await vi.advanceTimersByTimeAsync(LIMITS.bodyWindowMs);
    }
    if (result === undefined) sending?.close();
    await reading;
    return { result, passed };
  }

  it("is read however slow, as long as enough of it comes in each window", async () =>
    expect(await trickle(LIMITS.bodyWindowBytesMin, 10)).toEqual({ result: {}, passed: 10 }));

  it("is refused in the window in which less comes, after however much", async () =>
    expect(await trickle(LIMITS.bodyWindowBytesMin - 1, 10)).toMatchObject({
      result: { code: "request_body_timeout" },
      passed: 1,
    }));

  it("is refused after its whole time", async () => {
    const windows = LIMITS.bodyMs / LIMITS.bodyWindowMs;
    expect(await trickle(LIMITS.bodyWindowBytesMin, 2 * windows)).toMatchObject({
      result: { code: "request_body_timeout" },
      passed: windows,
    });
  });
});

describe("the bytes of a body", () => {
  it.each<[string, Record<string, string>]>([
    ["of a known length", { "content-length": "900" }],
    ["of an unknown length", {}],
  ])("%s are held from the budget until the call ends", async (_, headers) => {
    let held = 0;
    const app = new Hono();
    app.post("/", withBudget, async (c) => {
      await readJsonBody(c, 1000);
      held = budget.heldBy("ann");
      return c.text("");
    });
    await app.request("/", { method: "POST", headers, body: `"${"a".repeat(898)}"` });
    expect([held, budget.held]).toEqual([900, 0]);
  });

  it("that the budget refuses are dropped as they come, and the caller gets the refusal", async () => {
    heldMax = 2000;
    const { body, state } = stream(new Uint8Array(1000), 5);
    expect(await read(body, { bytesMax: 5000 })).toMatchObject({ code: "concurrent_requests_limit" });
    expect(state.taken).toBe(5000);
    expect(budget.held).toBe(0);
  });

  it("count as they are decoded, with those that they are decoded from", async () => {
    const text = Buffer.from(`"${"a".repeat(9998)}"`);
    const coded = gzipSync(text);
    const headers = { "content-encoding": "gzip" };
    heldMax = text.length + coded.length;
    expect(await read(coded, { bytesMax: 10_000, headers })).toHaveLength(9998);
    heldMax -= 1;
    expect(await read(coded, { bytesMax: 10_000, headers })).toMatchObject({
      code: "concurrent_requests_limit",
    });
  });

  it("in pieces of one byte count for what the pieces take", async () => {
    heldMax = 10_000;
    expect(await read(stream(new Uint8Array(1), 100).body)).toMatchObject({
      code: "concurrent_requests_limit",
    });
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
    [JSON.stringify({ a: Array(LIMITS.inputFieldsMax).fill({ b: 1 }) }), "sequence_too_long"],
  ])("is refused before it is parsed, %#", async (text, type) => {
    let faults: unknown;
    const app = new Hono();
    app.post("/", withBudget, async (c) => {
      faults = await readJsonBody(c, 10_000_000).catch((error) => error.faults);
      return c.text("");
    });
    await app.request("/", { method: "POST", body: text });
    expect(faults).toMatchObject([{ loc: ["body"], type }]);
  });
});

it("parses one large body of an owner in a turn of the event loop", async () => {
  const large = `[${Array(LIMITS.bodyTurnBytesMin).fill(1).join()}]`;
  let turn = 0;
  const parsedIn: number[] = [];
  const parse = JSON.parse;
  const spy = vi.spyOn(JSON, "parse").mockImplementation((text, ...rest) => {
    if (text === large) parsedIn.push(turn);
    return parse(text, ...rest);
  });
  let all = false;
  const reading = Promise.all([1, 2, 3].map(() => read(large, { bytesMax: 10_000_000 }))).then(() => {
    all = true;
  });
  for (; !all; turn++) await new Promise((next) => setImmediate(next));
  await reading;
  spy.mockRestore();
  expect(new Set(parsedIn).size).toBe(3);
});

describe("a body in a content coding", () => {
  const bytes = Buffer.from('{"prompt":"é"}');
  const coded = (body: Uint8Array, coding: string, bytesMax = 1000) =>
    read(body, {
      bytesMax,
      headers: { "content-encoding": coding, "content-length": String(body.length) },
    });

  it.each([
    ["gzip", gzipSync(bytes)],
    ["x-gzip", gzipSync(bytes)],
    [" GZIP ", gzipSync(bytes)],
    ["deflate", deflateSync(bytes)],
    ["deflate", deflateRawSync(bytes)], // as some clients send it, against RFC 9110 §8.4.1.2
    ["br", brotliCompressSync(bytes)],
    ["identity", bytes],
    ["", bytes],
  ])("%j is read", async (coding, body) => {
    expect(await coded(body, coding)).toEqual({ prompt: "é" });
    expect(await read(stream(body, 1).body, { headers: { "content-encoding": coding } })).toEqual({
      prompt: "é",
    });
  });

  it.each(["zstd", "compress", "gzip, br", "utf-8"])(
    "%s is refused, with the codings that are read",
    async (coding) =>
      expect(await coded(bytes, coding)).toEqual({
        code: "content_encoding_unsupported",
        message: `The body has the content encoding "${coding}"; send gzip, deflate or br, or none.`,
      }),
  );

  it("without a body is an empty object", async () => {
    expect(await read(undefined, { headers: { "content-encoding": "gzip" } })).toEqual({});
  });

  it.each([
    ["gzip", bytes],
    ["gzip", gzipSync(bytes).subarray(0, 20)],
    ["deflate", Buffer.from([0x78, 0x9c, 0xff, 0xff])],
    ["br", Buffer.from([0xff, 0xff, 0xff])],
  ])("%s that cannot be decoded is refused", async (coding, body) =>
    expect(await coded(body, coding)).toMatchObject({
      code: "body_not_json",
      message: `The body cannot be decoded as ${coding}.`,
    }),
  );

  it.each([
    ["gzip", gzipSync],
    ["deflate", deflateSync],
    // The default quality takes seconds for the bomb.
    ["br", (text: Buffer) => brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } })],
  ])("%s is measured as it is decoded, so that a bomb is refused", async (coding, compress) => {
    const text = (size: number) => Buffer.from(`"${"a".repeat(size - 2)}"`);
    expect(await coded(compress(text(1000)), coding)).toHaveLength(998);
    expect(await coded(compress(text(1001)), coding)).toMatchObject({ code: "body_too_large" });
    const bomb = compress(text(10_000_000));
    expect(await coded(bomb, coding, bomb.length)).toMatchObject({ code: "body_too_large" });
  });
});

describe("a body that its caller breaks off", () => {
  const head = "POST / HTTP/1.1\r\nHost: x\r\n";

  it.each([
    ["of 1000 announced bytes", `${head}Content-Length: 1000\r\n\r\n{"prompt":"a`],
    ["in chunks", `${head}Transfer-Encoding: chunked\r\n\r\n400\r\n{"prompt":"a`],
    ["in chunks of no valid length", `${head}Transfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\nzz\r\n`],
    ["in a coding", `${head}Content-Encoding: gzip\r\nContent-Length: 1000\r\n\r\n\x1f`],
    ["that is too large", `${head}Content-Length: 3000\r\n\r\n{"prompt":"a`],
  ])("%s is the caller's doing: a debug line", async (_, sent) => {
    const logged: string[] = [];
    const seen = new EventEmitter();
    const [ended, arrived] = [once(seen, "ended"), once(seen, "arrived")];
    const note = (level: string) => (_fields: object, message: string) => {
      logged.push(`${level}: ${message}`);
      seen.emit("ended");
    };
    const log = { debug: note("debug"), info: note("info"), warn: note("warn"), error: note("error") };
    const app = new Hono();
    app.post("/", withBudget, async (c) => {
      const reading = readJsonBody(c, 2000);
      seen.emit("arrived");
      return c.json(await reading);
    });
    app.onError((error, c) => answerError(c, error, { log }));
    const server = await listen(app, { host: "127.0.0.1", port: 0, name: "test", setting: "NONE" });
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(sent, "latin1");
    await arrived;
    socket.resetAndDestroy();
    if (!socket.closed) await once(socket, "close");
    await ended;
    await server.stop(0);
    expect(logged).toEqual(["debug: the caller disconnected"]);
  });
});
