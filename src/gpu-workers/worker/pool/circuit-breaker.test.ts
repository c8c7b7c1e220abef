import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../core/limits.ts";
import { CircuitBreaker, type CountedCrash } from "./circuit-breaker.ts";

const crash = (causes: CountedCrash["causes"], reason = "was ended by SIGSEGV"): CountedCrash => ({
  reason,
  causes,
  isEarly: false,
});

/** A breaker whose clock the test sets, open after three failed loads. */
function openBreaker() {
  const clock = { nowMs: 0 };
  const breaker = new CircuitBreaker({ trialDelayMs: 1000, nowMs: () => clock.nowMs });
  for (let i = 0; i < 3; i++) breaker.recordCrash(crash("engine"));
  return { clock, breaker };
}

describe("circuit breaker", () => {
  it("opens after three crashes of different causes: failed loads, and owners", () => {
    const breaker = new CircuitBreaker();
    breaker.recordCrash(crash("engine", "could not load"));
    breaker.recordCrash(crash(["ann"]));
    expect([breaker.crashes, breaker.isOpen]).toEqual([2, false]);
    breaker.recordCrash(crash(["bob"], "exited with code 3"));
    expect([breaker.crashes, breaker.isOpen, breaker.lastFailure]).toEqual([3, true, "exited with code 3"]);
  });

  it("counts all crashes of one owner once, and none with several owners on the engine", () => {
    const breaker = new CircuitBreaker();
    for (let i = 0; i < 10; i++) {
      breaker.recordCrash(crash(["mallory"]));
      breaker.recordCrash(crash([]));
    }
    expect([breaker.crashes, breaker.isOpen]).toEqual([1, false]);
  });

  it("counts from zero after a finished run, and after a reset, which also forgets the reason", () => {
    const { breaker } = openBreaker();
    breaker.recordSuccess();
    expect([breaker.isOpen, breaker.crashes, breaker.lastFailure]).toEqual([
      false,
      0,
      "was ended by SIGSEGV",
    ]);
    for (let i = 0; i < 3; i++) breaker.recordCrash({ ...crash("engine"), isEarly: true });
    expect(breaker.isOpen).toBe(true);
    breaker.reset();
    expect([breaker.isOpen, breaker.crashes, breaker.lastFailure, breaker.startAfterMs]).toEqual([
      false,
      0,
      undefined,
      0,
    ]);
  });

  it("lets one request try after the pause, and closes when it comes to its end", () => {
    const { clock, breaker } = openBreaker();
    expect([breaker.trialInMs, breaker.isHalfOpen, breaker.tryBegin()]).toEqual([1000, false, false]);
    clock.nowMs = 1000;
    expect([breaker.isHalfOpen, breaker.tryBegin(), breaker.tryBegin()]).toEqual([true, true, false]);
    breaker.recordSuccess();
    expect([breaker.isOpen, breaker.crashes]).toEqual([false, 0]);
  });

  it("pauses twice as long after each failed trial, by ten minutes at most", () => {
    const { clock, breaker } = openBreaker();
    const pauses: number[] = [];
    for (let i = 0; i < 11; i++) {
      clock.nowMs += breaker.trialInMs;
      expect(breaker.tryBegin()).toBe(true);
      breaker.recordCrash(crash(["mallory"]));
      pauses.push(breaker.trialInMs);
    }
    expect(pauses.slice(0, 4)).toEqual([2000, 4000, 8000, 16_000]);
    expect(pauses.at(-1)).toBe(LIMITS.engineTrialDelayMsMax);
  });

  it("lets the next request try when a trial told nothing", () => {
    const { clock, breaker } = openBreaker();
    clock.nowMs = 1000;
    breaker.tryBegin();
    breaker.endTrial();
    expect([breaker.isOpen, breaker.tryBegin()]).toEqual([true, true]);
  });

  it("is not opened again by what crashes after it was opened", () => {
    const { clock, breaker } = openBreaker();
    clock.nowMs = 900;
    breaker.recordCrash(crash(["late"]));
    expect(breaker.trialInMs).toBe(100);
  });

  it("delays a start longer after each early crash, by 30 s at most", () => {
    const breaker = new CircuitBreaker({ nowMs: () => 1000 });
    const delays: number[] = [];
    for (let i = 0; i < 9; i++) {
      breaker.recordCrash({ ...crash(["a"]), isEarly: true });
      delays.push(breaker.startAfterMs - 1000);
    }
    expect(delays).toEqual([250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    breaker.recordCrash(crash(["a"], "later"));
    expect(breaker.startAfterMs - 1000).toBe(30_000);
  });
});
