/** docs/architecture/05-security.md names a test for every threat; each must be there, under that name. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";

const PROJECT = resolve(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(PROJECT, path), "utf8");

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

const escaped = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** Whether a file gives a test or a group of tests that name. */
const hasTest = (file: string, name: string): boolean =>
  ['"', "'", "`"].some((quote) => new RegExp(`\\(\\s*${quote}${escaped(name)}${quote},`).test(read(file)));

describe("the threat model", () => {
  it("has threats", () => expect(threats.length).toBeGreaterThan(30));

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
