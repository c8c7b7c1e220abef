import { expect, it } from "vitest";
import { createOwnerLimiter } from "./owner-limiter.ts";

it("limits what each owner has open, and counts each disposal once", () => {
  const limiter = createOwnerLimiter(() => 2, "runs and streams open", "Wait for one.");
  const [first, second] = [limiter.acquire("ann"), limiter.acquire("ann")];
  expect(() => limiter.acquire("ann")).toThrow(
    expect.objectContaining({
      code: "concurrent_requests_limit",
      message: "You have 2 runs and streams open, which is the limit. Wait for one.",
    }),
  );
  limiter.acquire("bob");
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  limiter.acquire("ann");
  expect(() => limiter.acquire("ann")).toThrow();
  second[Symbol.dispose]();
  limiter.acquire("ann");
});
