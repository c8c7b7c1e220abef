import { isDeepStrictEqual } from "node:util";
import { describe, expect, it } from "vitest";
import {
  hasLargeNumber,
  isLargeNumber,
  JsonNumberFault,
  parseJson,
  readInteger,
  writeJson,
} from "./exact-json.ts";
import type { Json } from "./json.ts";

/** A generator of the same values on every run (mulberry32). */
function draws(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const TEXTS = [
  "",
  "a",
  '"',
  "\\",
  "\\\\",
  '\\"',
  "\u0000",
  "\ud800",
  "日本語",
  "12345678901234567890",
  "}],{[",
];
const NAMES = ["a", "b", "__proto__", "constructor", "toJSON", "0", "", '"', "é", "9007199254740993"];
const NUMBERS = [0, 1, -1, 0.1, 1e-7, 5e-324, Number.MAX_VALUE, Number.MAX_SAFE_INTEGER, 1e20, 1.5e300];

/** Makes a value of any shape, with integers of up to 40 digits. */
function anyValue(draw: (below: number) => number, depth = 0): Json {
  const kind = draw(depth > 4 ? 5 : 7);
  if (kind === 0) return TEXTS[draw(TEXTS.length)] as string;
  if (kind === 1) return NUMBERS[draw(NUMBERS.length)] as number;
  if (kind === 2) return [true, false, null][draw(3)] as Json;
  if (kind <= 4) {
    const digits = Array.from({ length: 1 + draw(40) }, () => draw(10)).join("");
    return readInteger(`${draw(2) === 0 ? "-" : ""}${digits}`) as Json;
  }
  const count = draw(4);
  if (kind === 5) return Array.from({ length: count }, () => anyValue(draw, depth + 1));
  return Object.fromEntries(
    Array.from({ length: count }, () => [NAMES[draw(NAMES.length)] as string, anyValue(draw, depth + 1)]),
  );
}

/** Writes with the writer's own format, or with blanks wherever JSON allows them. */
const spaced = (text: string): string =>
  text.replace(/("(?:[^"\\]|\\.)*")|([[\]{},:])/g, (_, string, mark) => string ?? ` \t\n\r${mark}\r\n\t `);

describe("parseJson and writeJson", () => {
  it("give back every value, however the text is spaced", () => {
    const draw = draws(1);
    for (let round = 0; round < 3000; round++) {
      const value = { value: anyValue(draw), large: 2n ** 64n };
      const text = writeJson(value);
      expect(isDeepStrictEqual(parseJson(text), normal(value))).toBe(true);
      expect(isDeepStrictEqual(parseJson(spaced(text)), normal(value))).toBe(true);
      expect(isDeepStrictEqual(parseJson(writeJson(value, 2)), normal(value))).toBe(true);
      expect(writeJson(parseJson(text))).toBe(text);
    }
  });

  it("do as JSON.parse and JSON.stringify do where there is no large number", () => {
    const draw = draws(2);
    for (let round = 0; round < 3000; round++) {
      const value = small(anyValue(draw));
      const text = JSON.stringify(value);
      expect(writeJson(value)).toBe(text);
      expect(writeJson(value, 2)).toBe(JSON.stringify(value, null, 2));
      expect(isDeepStrictEqual(parseJson(text), JSON.parse(text))).toBe(true);
      // The exact reader and writer agree with them too: a large number beside the value calls for these.
      const beside = `[${text},1e20]`;
      expect(isDeepStrictEqual(parseJson(beside), JSON.parse(beside))).toBe(true);
      expect(writeJson([value, 2n ** 60n])).toBe(`[${text},${2n ** 60n}]`);
      const indented = JSON.stringify([value, 2 ** 53], null, 2);
      expect(writeJson([value, 2n ** 53n], 2)).toBe(indented);
    }
  });

  it.each([
    ["9007199254740991", 9007199254740991],
    ["9007199254740992", 9007199254740992n],
    ["9007199254740993", 9007199254740993n],
    ["-9007199254740993", -9007199254740993n],
    ["18446744073709551615", 18446744073709551615n],
    ["-9223372036854775808", -9223372036854775808n],
    ["0.1", 0.1],
    ["1e-7", 1e-7],
    ["5e-324", 5e-324],
    ["1.7976931348623157e308", Number.MAX_VALUE],
    ["1.0", 1],
    ["-0", -0],
    ["1e-400", 0],
    ["0e999", 0],
    ["9007199254740993.0", 9007199254740992],
    [`-${"9".repeat(100)}`, -(10n ** 100n - 1n)],
  ])("reads %s", (text, value) => {
    expect(parseJson(text)).toBe(value);
    expect(parseJson(`{"a":[${text} , 1e20]}`)).toStrictEqual({ a: [value, 1e20] });
  });

  it.each([
    ["1e400", "finite_number"],
    ["-1e400", "finite_number"],
    [`${"9".repeat(400)}.5`, "finite_number"],
    ["9".repeat(101), "int_parsing_size"],
    [`-${"9".repeat(10_000)}`, "int_parsing_size"],
  ])("refuse a number that cannot be held, case %#", (text, type) => {
    const read = () => parseJson(`{"b":"1e400","a":[{"x":[]}, {"y\\"":${text}}]}`);
    expect(read).toThrow(JsonNumberFault);
    expect(read).toThrow(
      expect.objectContaining({ path: ["a", 1, 'y"'], reason: { msg: expect.any(String), type } }),
    );
  });

  it("keep the last of duplicate fields, and `__proto__` as a field", () => {
    const value = parseJson('{"a":1,"__proto__":{"b":2},"a":9007199254740993}') as object;
    expect(Object.keys(value)).toEqual(["a", "__proto__"]);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect(writeJson(value)).toBe('{"a":9007199254740993,"__proto__":{"b":2}}');
  });

  it("leave out what JSON does not have, and use toJSON", () => {
    const value = { a: undefined, b: [undefined, () => 1], c: new Date(0), d: Number.NaN, e: 2n ** 64n };
    expect(writeJson(value)).toBe(
      '{"b":[null,null],"c":"1970-01-01T00:00:00.000Z","d":null,"e":18446744073709551616}',
    );
  });

  it.each(["", "{", "[1,]", "01", "1.", "{'a':1}", "[9007199254740993", "9007199254740993 1", "NaN"])(
    "refuse %j as JSON.parse does",
    (text) => {
      let native: unknown;
      try {
        JSON.parse(text);
      } catch (error) {
        native = error;
      }
      expect(() => parseJson(text)).toThrow(native as Error);
    },
  );

  it("refuses a value that contains itself", () => {
    for (const before of [{ large: 2n ** 64n }, {}]) {
      const value: Record<string, unknown> = before;
      value.self = value;
      value.after = 2n ** 64n;
      expect(() => writeJson(value)).toThrow(/^Converting circular structure to JSON/);
    }
  });
});

it("finds large numbers at any depth, and none in bytes and texts", () => {
  expect(hasLargeNumber({ a: [1, "18446744073709551615", new Uint8Array(8), null, -1.5e-300] })).toBe(false);
  expect(hasLargeNumber({ a: [{ b: 2 ** 53 }] })).toBe(true);
  expect(hasLargeNumber([[1n]])).toBe(true);
  expect(hasLargeNumber(Number.POSITIVE_INFINITY)).toBe(true);
});

/** Values as JSON gives them back: a double that is written as a large integer is read as one. */
function normal(value: Json): Json {
  if (typeof value === "number" && Number.isInteger(value) && Math.abs(value) < 1e21)
    return readInteger(String(value)) as Json;
  return mapped(value, normal);
}

/** The value without large numbers. */
function small(value: Json): Json {
  return isLargeNumber(value) ? String(value) : mapped(value, small);
}

function mapped(value: Json, change: (value: Json) => Json): Json {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(change);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, change(item)]));
}
