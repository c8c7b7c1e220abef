import { expect, it } from "vitest";
import { longTexts, standInsOf, withStandIns, withTexts } from "./stand-ins.ts";

const long = (letter: string): string => letter.repeat(5_000);
const value = { a: long("a"), list: [1, null, { b: long("b"), short: "s" }], n: 5 };
const MAX = 100_000;
const REF = "inputs/1.json";

it("replaces long texts, names where they are stored, and puts them back", () => {
  const short = withStandIns(value, REF);
  expect(JSON.stringify(short).length).toBeLessThan(300);
  expect(standInsOf(short, new Set([REF]))).toEqual([REF]);
  expect(withTexts(short, new Map([[REF, longTexts(value)]]), MAX)).toEqual(value);
});

it("puts a text back within another text, and in another value", () => {
  const { a } = withStandIns(value, REF) as { a: string };
  expect(withTexts({ c: [`<${a}|${a}>`] }, new Map([[REF, longTexts(value)]]), MAX)).toEqual({
    c: [`<${value.a}|${value.a}>`],
  });
});

it("leaves alone what only looks like a stand-in", () => {
  const forged = { a: "tempera:text:inputs/other.json#0;", b: `tempera:text:${REF}#99;` };
  expect(standInsOf(forged, new Set([REF]))).toEqual([REF]);
  expect(withTexts(forged, new Map([[REF, longTexts(value)]]), MAX)).toEqual(forged);
  expect(standInsOf(forged, new Set())).toEqual([]);
});

it("puts back no more than was allowed", () => {
  const { a } = withStandIns(value, REF) as { a: string };
  const texts = new Map([[REF, longTexts(value)]]);
  expect(withTexts([a, a], texts, 10_000)).toEqual([value.a, value.a]);
  expect(withTexts([a, a], texts, 9_999)).toBeUndefined();
});
