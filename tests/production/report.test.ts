import { expect, it } from "vitest";
import { Ledger } from "./checker/ledger.ts";
import { reportOf } from "./report.ts";

it("fails for a run in which nothing happened", () => {
  const { checks } = reportOf({
    seed: 1,
    planned: { jobs: 300, faults: 40 },
    ledger: new Ledger(),
    violations: [],
    exits: [],
    baselineMs: [],
    seconds: 0,
  });
  const failed = checks.filter(({ pass }) => !pass).map(({ name }) => name);
  expect(failed).toEqual(["jobs accepted", "faults made", "images compared"]);
});
