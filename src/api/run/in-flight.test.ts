import { expect, it } from "vitest";
import { createInFlight } from "./in-flight.ts";

it("gives each owner its places and takes each back once", () => {
  const inFlight = createInFlight(() => 2, "runs and streams open", "Wait for one.");
  const [first, second] = [inFlight.take("ann"), inFlight.take("ann")];
  expect(() => inFlight.take("ann")).toThrow(
    expect.objectContaining({
      code: "concurrent_requests_limit",
      message: "You have 2 runs and streams open, as many as you may. Wait for one.",
    }),
  );
  inFlight.take("bob");
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  inFlight.take("ann");
  expect(() => inFlight.take("ann")).toThrow();
  second[Symbol.dispose]();
  inFlight.take("ann");
});
