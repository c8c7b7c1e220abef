import { describe, expect, it, vi } from "vitest";
import type { Json } from "./json.ts";
import { endOfText, isLongerThan, jsonExcess } from "./json-bounds.ts";

const nested = (levels: number): string => `${"[".repeat(levels)}${"]".repeat(levels)}`;
const excess = (text: string) => jsonExcess(text, { depthMax: 64, valuesMax: 1000, fieldsMax: 100 });

describe("jsonExcess", () => {
  it.each([
    "",
    "null",
    nested(64),
    `[${nested(63)},${nested(63)}]`,
    `{"a":"${"[".repeat(1000)}"}`,
    `{"a":"\\"${"[".repeat(1000)}"}`,
    `{"a\\\\":"\\\\\\"${",".repeat(2000)}"}`,
    `[${Array(999).fill(1).join()}]`,
    `[${Array(100).fill('{"a:":":::"}').join()}]`,
    "]]]]}}",
    '"never ends',
  ])("finds nothing to refuse, %#", (text) => expect(excess(text)).toBeUndefined());

  it.each<[string, "depth" | "values" | "fields"]>([
    [nested(65), "depth"],
    [`{"a":${'{"a":'.repeat(64)}1`, "depth"],
    [`["x\\\\",${"[".repeat(64)}`, "depth"],
    [`[${Array(1001).fill(1).join()}]`, "values"],
    [`[${Array(1000).fill("[]").join()}]`, "values"],
    [`[${Array(101).fill('{"a":1}').join()}]`, "fields"],
    [`{${Array(101).fill('"a":1').join()}}`, "fields"],
  ])("names the exceeded bound, %#", (text, what) => expect(excess(text)).toBe(what));

  it("scans 30 MB of brackets in one pass", () => {
    const bombs = [
      "[".repeat(32_000_000),
      `[${"{},".repeat(10_000_000)}`,
      `{"payload":${"[".repeat(7_800_000)}`,
    ];
    for (const bomb of bombs) expect(excess(bomb)).toBeTruthy();
  });
});

describe("isLongerThan", () => {
  it.each([
    [{ a: "xx" }, 9],
    [["xx", 1], 6],
  ] as const)("measures %j exactly", (value, length) => {
    expect(isLongerThan(value as unknown as Json, length)).toBe(false);
    expect(isLongerThan(value as unknown as Json, length - 1)).toBe(true);
  });

  it("measures the digits of a long integer", () => {
    expect(isLongerThan([10n ** 999n], 1001)).toBe(false);
    expect(isLongerThan([10n ** 999n, 1], 1001)).toBe(true);
  });

  it("stops at the bound, however often a value contains one part", () => {
    let part: Json = { text: "x" };
    for (let times = 0; times < 100; times++) part = { one: part, other: part };
    expect(isLongerThan(part, 10_000)).toBe(true);
  });
});

it("jumps to the next quote for a few of the quotes of a text that are escaped", () => {
  const jumps = vi.spyOn(String.prototype, "indexOf");
  const text = `{"prompt":"${'\\"'.repeat(10_000)}"}`;
  const excess = jsonExcess(text, { depthMax: 2, valuesMax: 2, fieldsMax: 2 });
  const calls = jumps.mock.calls.length;
  jumps.mockRestore();
  expect(excess).toBeUndefined();
  expect(calls).toBeLessThan(1_000);
});

it.each([
  ["a quote", '"a\\"b"', 5],
  ["a backslash", '"a\\\\"b"', 4],
  ["a run that ends within the steps", `"${'\\"'.repeat(31)}${"x".repeat(100)}\\""`, 165],
  ["a run longer than the steps", `"${'\\"'.repeat(100)}\\\\"`, 203],
  ["nothing that follows", `"${'\\"'.repeat(100)}\\`, -1],
])("finds the end of a text with an escape of %s", (_what, text, end) => {
  expect(endOfText(text, 0)).toBe(end);
});
