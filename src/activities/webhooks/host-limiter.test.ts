import { describe, expect, it } from "vitest";
import { HostLimiter } from "./host-limiter.ts";

const NEVER = new AbortController().signal;
const createLimiter = () => new HostLimiter({ inFlightMax: 1, waitingMax: 1, waitMs: 60_000 });

it("passes the slot on when its attempt is cancelled at the moment of the grant", async () => {
  const limiter = createLimiter();
  const release = await limiter.acquire("a", NEVER);
  const cancelled = new AbortController();
  const second = limiter.acquire("a", cancelled.signal);
  release?.();
  cancelled.abort();
  await expect(second).rejects.toThrow();
  expect(await limiter.acquire("a", AbortSignal.timeout(500))).toBeTypeOf("function");
});

describe("the capacity of a host", () => {
  it("ends with its queue, host by host, and is there again after a release", async () => {
    const limiter = createLimiter();
    expect(limiter.hasCapacity("a")).toBe(true);
    const release = await limiter.acquire("a", NEVER);
    expect(limiter.hasCapacity("a")).toBe(true); // in the queue
    const second = limiter.acquire("a", NEVER);
    expect(limiter.hasCapacity("a")).toBe(false);
    expect(await limiter.acquire("a", NEVER)).toBeUndefined();
    expect(limiter.hasCapacity("b")).toBe(true);
    release?.();
    expect(limiter.hasCapacity("a")).toBe(true);
    (await second)?.();
    expect(limiter.hasCapacity("a")).toBe(true);
  });
});
