import { describe, expect, it } from "vitest";
import { isAfter, parseEventId } from "./events.ts";

describe("event ids", () => {
  it("order by number, not by text", () => {
    expect(isAfter("5-10", "5-9")).toBe(true);
    expect(isAfter("10-0", "9-99")).toBe(true);
    expect(isAfter("5-9", "5-9")).toBe(false);
    expect(isAfter("5-8", "5-9")).toBe(false);
  });

  it("read what no log has given out as absent", () => {
    for (const id of ["", "5", "-", "5-", "$", "+", "5-1-2", "99999999999999999-0", " 5-1", "５-1"]) {
      expect(parseEventId(id)).toBeUndefined();
      expect(isAfter("5-1", id)).toBe(true);
    }
    expect(isAfter("5-1", undefined)).toBe(true);
  });
});
