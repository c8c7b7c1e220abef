import { describe, expect, it, vi } from "vitest";
import { isRequestId } from "./request.ts";

/** As a process that has just begun makes them. */
async function freshIds(): Promise<(nowMs?: number) => string> {
  vi.resetModules();
  return (await import("./request-id.ts")).newRequestId;
}

const ID = "019a1b2c-0000-7000-8000-00000000000a";
const rising = (ids: string[]): void => {
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
};

describe("request ids", () => {
  it("are UUIDs of version 7 that carry their time", async () => {
    const newRequestId = await freshIds();
    const id = newRequestId(0x0123456789ab);
    expect(id).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(isRequestId(id)).toBe(true);
    expect(Number.parseInt(newRequestId().replace("-", "").slice(0, 12), 16)).toBeCloseTo(Date.now(), -4);
  });

  it("sort by time of creation", async () => {
    const newRequestId = await freshIds();
    rising(Array.from({ length: 2000 }, (_, ms) => newRequestId(1_700_000_000_000 + ms)));
  });

  it("keep their order within a millisecond, however many there are", async () => {
    const newRequestId = await freshIds();
    rising(Array.from({ length: 10_000 }, () => newRequestId(1_700_000_000_000)));
  });

  it("keep their order when the clock goes back", async () => {
    const newRequestId = await freshIds();
    rising([5000, 4000, 4001, 1, 5000, 5001].map((ms) => newRequestId(1_700_000_000_000 + ms)));
  });

  it("of two processes do not meet", async () => {
    const [one, other] = [await freshIds(), await freshIds()];
    const ids = [one, other].flatMap((newRequestId) =>
      Array.from({ length: 1000 }, () => newRequestId(1_700_000_000_000)),
    );
    expect(new Set(ids).size).toBe(2000);
  });

  it.each(["", "x", "0".repeat(36), "../../etc/passwd", `${ID}\n`, ` ${ID}`, ID.replaceAll("-", "")])(
    "%j is none",
    (id) => expect(isRequestId(id)).toBe(false),
  );

  it("are recognised in capitals", () => expect(isRequestId(ID.toUpperCase())).toBe(true));
});
