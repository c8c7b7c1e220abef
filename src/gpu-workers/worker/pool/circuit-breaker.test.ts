import { describe, expect, it } from "vitest";
import { CircuitBreaker } from "./circuit-breaker.ts";

describe("circuit breaker", () => {
  it("opens after three crashes in a row, whatever the engine was doing", () => {
    const breaker = new CircuitBreaker();
    breaker.recordCrash("could not load", [], true);
    breaker.recordCrash("was ended by SIGSEGV", ["a"], false);
    expect([breaker.crashes, breaker.isOpen]).toEqual([2, false]);
    breaker.recordCrash("exited with code 3", ["a", "b"], false);
    expect([breaker.crashes, breaker.isOpen, breaker.lastFailure]).toEqual([3, true, "exited with code 3"]);
  });

  it("counts from zero after a finished run, and after a reset, which also forgets the reason", () => {
    const breaker = new CircuitBreaker();
    breaker.recordCrash("one", ["a"], true);
    breaker.recordCrash("two", ["b"], true);
    breaker.recordSuccess();
    expect([breaker.crashes, breaker.startAfterMs, breaker.lastFailure]).toEqual([0, 0, "two"]);
    for (const id of ["a", "b", "c"]) breaker.recordCrash("three", [id], true);
    expect(breaker.isOpen).toBe(true);
    breaker.reset();
    expect([breaker.isOpen, breaker.crashes, breaker.lastFailure, breaker.startAfterMs]).toEqual([
      false,
      0,
      undefined,
      0,
    ]);
  });

  it("counts the crashes of one request alone once, and each crash of several requests", () => {
    const breaker = new CircuitBreaker();
    for (let attempt = 1; attempt <= 5; attempt++)
      breaker.recordCrash("was ended by SIGKILL", ["poison"], false);
    expect(breaker.crashes).toBe(1);
    breaker.recordCrash("was ended by SIGKILL", ["other"], false);
    breaker.recordCrash("was ended by SIGKILL", ["poison"], false);
    expect(breaker.isOpen).toBe(true);

    const together = new CircuitBreaker();
    for (let attempt = 1; attempt <= 3; attempt++)
      together.recordCrash("was ended by SIGKILL", ["a", "b"], false);
    expect(together.isOpen).toBe(true);
  });

  it("delays a start longer after each early crash, by 30 s at most", () => {
    const breaker = new CircuitBreaker(() => 1000);
    const delays: number[] = [];
    for (let i = 0; i < 9; i++) {
      breaker.recordCrash("x", ["a"], true);
      delays.push(breaker.startAfterMs - 1000);
    }
    expect(delays).toEqual([250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    breaker.recordCrash("later", ["a"], false);
    expect(breaker.startAfterMs - 1000).toBe(30_000);
  });
});
