import { expect, it } from "vitest";
import type { CrashRecord } from "./crash.ts";
import { crashRefusals } from "./crash-refusals.ts";

let crashes = 0;
const crash = (ownerId: string, inputDigest: string, over: Partial<CrashRecord> = {}): CrashRecord => ({
  crashId: `crash ${crashes++}`,
  endpoint: "t/a",
  version: "1.0.0",
  ownerId,
  inputDigest,
  requestId: `request ${crashes}`,
  company: "alone",
  cleared: false,
  ageMs: 1_000,
  ...over,
});

it("lists quarantined inputs and limited owners of each model version, in the order of their keys", () => {
  const records = [
    ...["a", "b", "c"].map((input) => crash("mallory", input)),
    ...["bad", "bad", "other"].map((input) => crash("ann", input)),
    crash("bob", "once"),
    ...["a", "b"].map((input) => crash("bob", input, { version: "2.0.0" })),
  ];
  const listed = crashRefusals(records, 3);
  expect(listed.map(({ code, ownerId, inputDigest }) => [code, ownerId, inputDigest])).toEqual([
    ["engine_crash_limit", "ann", undefined],
    ["input_quarantined", "ann", "bad"],
    ["engine_crash_limit", "mallory", undefined],
  ]);
  expect(new Set(listed.map(({ key }) => key)).size).toBe(listed.length);
});

it("lists nothing for inputs that have run to an end since", () => {
  const cleared = ["bad", "bad"].map((input) => crash("ann", input, { cleared: true }));
  expect(crashRefusals(cleared, 3)).toEqual([]);
});
