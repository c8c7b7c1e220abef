import { describe, expect, it } from "vitest";
import { createCrashRecord } from "./circuit-breaker.ts";

describe("crash record", () => {
  it("three crashes in a row are enough, whatever each happened in", () => {
    const record = createCrashRecord();
    record.crashed("could not load", [], true);
    record.crashed("was ended by SIGSEGV", ["a"], false);
    expect([record.count, record.out]).toEqual([2, false]);
    record.crashed("exited with code 3", ["a", "b"], false);
    expect([record.count, record.out, record.lastFailure]).toEqual([3, true, "exited with code 3"]);
  });

  it("a finished run begins the count anew; a reset too, and forgets the reason", () => {
    const record = createCrashRecord();
    record.crashed("one", ["a"], true);
    record.crashed("two", ["b"], true);
    record.finished();
    expect([record.count, record.startAfterMs, record.lastFailure]).toEqual([0, 0, "two"]);
    for (const id of ["a", "b", "c"]) record.crashed("three", [id], true);
    expect(record.out).toBe(true);
    record.reset();
    expect([record.out, record.count, record.lastFailure, record.startAfterMs]).toEqual([
      false,
      0,
      undefined,
      0,
    ]);
  });

  it("one request that keeps crashing its engine alone counts once; in company each counts", () => {
    const record = createCrashRecord();
    for (let attempt = 1; attempt <= 5; attempt++) record.crashed("was ended by SIGKILL", ["poison"], false);
    expect(record.count).toBe(1);
    record.crashed("was ended by SIGKILL", ["other"], false);
    record.crashed("was ended by SIGKILL", ["poison"], false);
    expect(record.out).toBe(true);

    const together = createCrashRecord();
    for (let attempt = 1; attempt <= 3; attempt++)
      together.crashed("was ended by SIGKILL", ["a", "b"], false);
    expect(together.out).toBe(true);
  });

  it("a start waits longer after each early end, half a minute at most", () => {
    const record = createCrashRecord(() => 1000);
    const waits: number[] = [];
    for (let i = 0; i < 9; i++) {
      record.crashed("x", ["a"], true);
      waits.push(record.startAfterMs - 1000);
    }
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    record.crashed("later", ["a"], false);
    expect(record.startAfterMs - 1000).toBe(30_000);
  });
});
