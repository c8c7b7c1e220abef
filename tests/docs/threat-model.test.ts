/** docs/architecture/05-security.md names tests for every threat; each must exist under its title. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { PROJECT, read } from "./pages.ts";

interface Threat {
  threat: string;
  tests: { file: string; name: string }[];
}

/** The rows of every table whose last column is "held by". */
const threats: Threat[] = [];
let inTable = false;
for (const line of read("docs/architecture/05-security.md").split("\n")) {
  const cells = line.startsWith("|")
    ? line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim())
    : [];
  if (cells.length === 0) inTable = false;
  else if (cells.at(-1) === "held by") inTable = true;
  else if (inTable && !/^-+$/.test(cells[0] ?? ""))
    threats.push({
      threat: cells[0] ?? "",
      tests: [...(cells.at(-1) ?? "").matchAll(/`([^`]+)` "([^"]+)"/g)].map(([, file = "", name = ""]) => ({
        file,
        name,
      })),
    });
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

/** Tells whether a file has a test, or a group of tests, with that title. */
function hasTest(file: string, name: string): boolean {
  return ['"', "'", "`"].some((quote) =>
    new RegExp(`\\(\\s*${quote}${escaped(name)}${quote},`).test(read(file)),
  );
}

describe("the threat model", () => {
  it("lists threats", () => expect(threats.length).toBeGreaterThan(30));

  it.each(threats)("$threat", ({ tests }) => {
    expect(tests).not.toEqual([]);
    for (const { file, name } of tests) {
      expect([file, existsSync(join(PROJECT, file))]).toEqual([file, true]);
      expect([file, name, hasTest(file, name)]).toEqual([file, name, true]);
    }
  });

  it("notices a test that is not there", () =>
    expect(hasTest("tests/docs/threat-model.test.ts", "has no such name")).toBe(false));
});
