import { describe, expect, it, vi } from "vitest";
import { isRequestId } from "./request.ts";

/** Loads the module anew, as a process that has just started. */
async function freshIds(): Promise<(nowMs?: number) => string> {
  vi.resetModules();
  return (await import("./request-id.ts")).newRequestId;
}

const ID = "019a1b2c-0000-7000-8000-00000000000a";
const expectRising = (ids: string[]): void => {
  expect([...ids].sort()).toEqual(ids);
  expect(new Set(ids).size).toBe(ids.length);
};

describe("request ids", () => {
  it("are UUIDs of version 7 that contain their time", async () => {
    const newRequestId = await freshIds();
    const id = newRequestId(0x0123456789ab);
    expect(id).toMatch(/^01234567-89ab-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(isRequestId(id)).toBe(true);
    expect(Number.parseInt(newRequestId().replace("-", "").slice(0, 12), 16)).toBeCloseTo(Date.now(), -4);
  });

  it("sort by time of creation", async () => {
    const newRequestId = await freshIds();
    expectRising(Array.from({ length: 2000 }, (_, ms) => newRequestId(1_700_000_000_000 + ms)));
  });

  it("keep their order within a millisecond, 10,000 of them too", async () => {
    const newRequestId = await freshIds();
    expectRising(Array.from({ length: 10_000 }, () => newRequestId(1_700_000_000_000)));
  });

  it("keep their order when the clock goes back", async () => {
    const newRequestId = await freshIds();
    expectRising([5000, 4000, 4001, 1, 5000, 5001].map((ms) => newRequestId(1_700_000_000_000 + ms)));
  });

  it("of two processes are distinct", async () => {
    const [one, other] = [await freshIds(), await freshIds()];
    const ids = [one, other].flatMap((newRequestId) =>
      Array.from({ length: 1000 }, () => newRequestId(1_700_000_000_000)),
    );
    expect(new Set(ids).size).toBe(2000);
  });

  it.each(["", "x", "0".repeat(36), "../../etc/passwd", `${ID}\n`, ` ${ID}`, ID.replaceAll("-", "")])(
    "%j is not a request id",
    (id) => expect(isRequestId(id)).toBe(false),
  );

  it("are recognised in upper case", () => expect(isRequestId(ID.toUpperCase())).toBe(true));
});
