import { describe, expect, it } from "vitest";
import { wantsCache } from "./cache.ts";

describe("X-Tempera-Cache at a submit", () => {
  it.each([
    [undefined, true],
    ["on", true],
    ["off", false],
    [" OFF ", false],
  ])("%j: reuse is %j", (header, wanted) => expect(wantsCache(header)).toBe(wanted));

  it.each(["", "no", "hit", "off, on"])(
    "%j is refused in a sentence that says what may be said",
    (header) => {
      expect(() => wantsCache(header)).toThrow(/X-Tempera-Cache is .*"off"/);
    },
  );
});
