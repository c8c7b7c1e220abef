import { encode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../core/limits.ts";
import {
  decodeFrame,
  decodeJsonFrame,
  encodeFrame,
  FrameFault,
  type FrameObject,
  frameJson,
  isHeavyFrame,
} from "./msgpack.ts";

const nested = (levels: number): FrameObject => {
  let value: FrameObject = {};
  for (let i = 1; i < levels; i++) value = { a: value };
  return { a: value, last: 1 };
};

describe("frames", () => {
  it.each<FrameObject>([
    {},
    { prompt: "hé😀", n: 1, big: 2 ** 40, low: -7, f: 0.25, yes: true, no: false, nil: null },
    { bytes: new Uint8Array([0, 255, 0xc1]), list: [new Uint8Array(300), [], {}] },
    {
      text: "x".repeat(70_000),
      list: Array.from({ length: 20_000 }, (_, i) => i),
      ...Object.fromEntries(Array.from({ length: 20 }, (_, i) => [`k${i}`, i])),
    },
    {
      seeds: [2n ** 64n - 1n, -(2n ** 63n), 2n ** 53n + 1n, -(2n ** 53n)],
      beside: [2 ** 40, -(2 ** 40), 2 ** 31, -7, 0.25, 1e20, 5e-324, 2 ** 53 - 1],
      bytes: new Uint8Array([1, 2]),
    },
  ])("come back as they went, %#", (value) => expect(decodeFrame(encodeFrame(value))).toEqual(value));

  it("keep 64-bit integers in JSON", () => {
    const text = '{"seed":18446744073709551615,"low":-9223372036854775808,"n":4294967296,"x":0.1}';
    expect(frameJson(decodeFrame(encodeFrame(decodeJsonFrame(text))))).toBe(text);
  });

  it("refuse numbers that cannot be held", () => {
    expect(() => encodeFrame(decodeJsonFrame('{"n":18446744073709551616}'))).toThrow("more than 64 bits");
    expect(() => encodeFrame(decodeJsonFrame('{"n":-9223372036854775809}'))).toThrow("more than 64 bits");
    expect(() => decodeJsonFrame('{"a":{"n":1e400}}')).toThrow("finite number (at a.n)");
  });

  it("refuses a frame truncated at any byte", () => {
    const whole = encode({
      a: [1, -200, 70_000, 1.5, "text", new Uint8Array(3), { b: null }],
      c: "y".repeat(40),
    });
    for (let end = 0; end < whole.length; end++)
      expect(() => decodeFrame(whole.subarray(0, end))).toThrow(FrameFault);
    expect(() => decodeFrame(new Uint8Array([...whole, 0xc0]))).toThrow("more bytes after");
  });

  it.each<[string, number[], string]>([
    ["a reserved type", [0xc1], "extension type"],
    ["a timestamp", [...encode({ t: new Date() })], "extension type"],
    ["a list of 2^32 - 1", [0xdd, 0xff, 0xff, 0xff, 0xff], "cut off"],
    [
      "lists of 2^32 - 1 in each other",
      Array.from({ length: 50 }, () => [0xdd, 0xff, 0xff, 0xff, 0xff]).flat(),
      "cut off",
    ],
    ["a number as key", [0x81, 0x01, 0x02], "key"],
    ["a list", [0x90], "not an object"],
    ["text", [0xa1, 0x61], "not an object"],
    ["bytes", [0xc4, 0x01, 0x00], "not an object"],
    ["NaN", [...encode({ x: Number.NaN })], "not finite"],
    ["__proto__", [0x81, 0xa9, ...Buffer.from("__proto__"), 0x01], "not msgpack"],
    ["nothing", [], "cut off"],
  ])("refuses %s", (_, bytes, message) => expect(() => decodeFrame(new Uint8Array(bytes))).toThrow(message));

  it("bounds the nesting before anything recurses", () => {
    expect(decodeFrame(encode(nested(LIMITS.inputDepthMax - 2)))).toBeTruthy();
    const bomb = new Uint8Array(1_000_000).fill(0x91);
    expect(() => decodeFrame(bomb)).toThrow(`deeper than ${LIMITS.inputDepthMax}`);
  });

  it("reads lists and objects with lengths of four bytes", () =>
    expect(decodeFrame(new Uint8Array([0xdf, 0, 0, 0, 1, 0xa1, 0x61, 0xdd, 0, 0, 0, 2, 7, 8]))).toEqual({
      a: [7, 8],
    }));

  it("bounds the number of values, and the length of a text, before anything is decoded", () => {
    const many = Array.from({ length: LIMITS.frameValuesMax + 1 }, () => 0);
    expect(() => decodeFrame(encode({ many }))).toThrow("values");
    expect(() => decodeJsonFrame(JSON.stringify({ many }))).toThrow("values");
    const fields = Object.fromEntries(many.slice(0, LIMITS.inputFieldsMax + 1).map((_, n) => [n, 0]));
    expect(() => decodeFrame(encode(fields))).toThrow("fields");
    expect(() => decodeJsonFrame(JSON.stringify(fields))).toThrow("fields");
    expect(() => decodeJsonFrame(`{"payload":${"[".repeat(500_000)}`)).toThrow(
      `deeper than ${LIMITS.inputDepthMax}`,
    );
    expect(() => decodeJsonFrame(`{"payload":"${"x".repeat(LIMITS.textFrameCharactersMax)}"}`)).toThrow(
      "msgpack",
    );
  });

  it.each<[string, boolean, Uint8Array]>([
    ["many values", true, encode({ a: Array(LIMITS.frameTurnBytesMin).fill(0) })],
    ["a long text", true, encode({ a: "x".repeat(LIMITS.frameTurnBytesMin) })],
    ["many byte strings", true, encode({ a: Array(LIMITS.frameTurnBytesMin / 2).fill(new Uint8Array(1)) })],
    ["an image of megabytes", true, encode({ image: new Uint8Array(2 ** 21) })],
    ["a usual image", false, encode({ prompt: "a cat", image: new Uint8Array(100 * 1024), n: [1, 2] })],
    ["a short text", false, encode({ prompt: "a cat" })],
    ["an early fault", false, new Uint8Array(LIMITS.frameTurnBytesMin).fill(0xc1)],
    ["a late fault", true, new Uint8Array([0xdd, 0, 0, 0x40, 0, ...Array(LIMITS.frameTurnBytesMin).fill(0)])],
  ])("tells which frames take long to read: %s, %s", (_, isHeavy, bytes) =>
    expect(isHeavyFrame(bytes)).toBe(isHeavy),
  );

  it("reads a frame from a part of a larger buffer", () => {
    const bytes = encode({ a: 1 });
    const large = Buffer.concat([Buffer.from([1, 2, 3]), bytes, Buffer.from([9])]);
    expect(decodeFrame(large.subarray(3, 3 + bytes.length))).toEqual({ a: 1 });
  });

  it("writes bytes as base64 in JSON", () =>
    expect(frameJson({ a: Buffer.from("hi"), b: [new Uint8Array([1, 2])] })).toBe(
      '{"a":"aGk=","b":["AQI="]}',
    ));
});
