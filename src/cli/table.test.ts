import { expect, it } from "vitest";
import { table } from "./table.ts";

it("aligns columns, and lets no name forge a row or steer the terminal", () => {
  const rows = [
    ["a\nROOT  all", "1"],
    ["\u001b[2J\u009b31m\u202eb", "22"],
  ];
  expect(table(["NAME", "N"], rows).split("\n")).toEqual([
    "NAME                       N",
    String.raw`a\nROOT  all               1`,
    String.raw`\u001b[2J\u009b31m\u202eb  22`,
  ]);
});
