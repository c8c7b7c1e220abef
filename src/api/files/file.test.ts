import { describe, expect, it } from "vitest";
import { parseRange } from "./file.ts";

describe("a byte range", () => {
  it.each([
    ["bytes=0-99", { start: 0, end: 99 }],
    ["bytes=0-0", { start: 0, end: 0 }],
    ["bytes=999-999", { start: 999, end: 999 }],
    ["bytes=100-", { start: 100, end: 999 }],
    ["bytes=-100", { start: 900, end: 999 }],
    ["bytes=-5000", { start: 0, end: 999 }],
    ["bytes=500-99999999999999999999", { start: 500, end: 999 }],
    [" bytes=0-9 ", { start: 0, end: 9 }],
  ])("%j of 1000 bytes", (header, range) => expect(parseRange(header, 1000)).toEqual(range));

  it.each(["bytes=1000-", "bytes=1000-1001", "bytes=99999999999999999999-", "bytes=-0"])(
    "%j lies outside",
    (header) => expect(parseRange(header, 1000)).toBe("unsatisfiable"),
  );

  it.each(["bytes=0-", "bytes=-1", "bytes=0-0"])("%j of an empty file lies outside", (header) =>
    expect(parseRange(header, 0)).toBe("unsatisfiable"),
  );

  it.each([
    undefined,
    "",
    "bytes",
    "bytes=",
    "bytes=-",
    "bytes=5-2",
    "bytes=a-b",
    "bytes=0-1,5-6",
    "bytes=--1",
    "bytes=1-2-3",
    "bytes=0x0-1",
    "items=0-1",
    "bytes = 0-1",
    "bytes=1.5-2",
    "bytes=0-1x",
  ])("%j is ignored, as RFC 9110 allows", (header) => expect(parseRange(header, 1000)).toBeUndefined());
});
