import { describe, expect, it } from "vitest";
import { isRequestId } from "./request.ts";
import { newRequestId } from "./request-id.ts";

describe("request ids", () => {
  it("are UUIDs of version 7 that carry their time", () => {
    const id = newRequestId(0x0123456789ab);
    expect(id).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(isRequestId(id)).toBe(true);
  });

  it("sort by time of creation, and never repeat", () => {
    const ids = Array.from({ length: 2000 }, (_, ms) => newRequestId(1_700_000_000_000 + ms));
    expect([...ids].sort()).toEqual(ids);
    expect(new Set(Array.from({ length: 2000 }, () => newRequestId(5))).size).toBe(2000);
  });

  it.each(["", "x", "0".repeat(36), "../../etc/passwd", `${newRequestId()}\n`, ` ${newRequestId()}`, newRequestId().replaceAll("-", "")])(
    "%j is none",
    (id) => expect(isRequestId(id)).toBe(false),
  );

  it("are recognised in capitals", () => expect(isRequestId(newRequestId().toUpperCase())).toBe(true));
});
