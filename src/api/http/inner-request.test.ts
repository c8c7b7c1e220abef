import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { createInnerRequest } from "./inner-request.ts";

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

it("aborts its signal with the caller's, also when only the signal is still held", async () => {
  const caller = new AbortController();
  const { signal } = createInnerRequest("http://gateway/a", { signal: caller.signal });
  // A finished task lets the engine collect what it held.
  await new Promise((done) => setImmediate(done));
  collectGarbage();
  caller.abort(new Error("gone"));
  expect(signal.aborted).toBe(true);
});
