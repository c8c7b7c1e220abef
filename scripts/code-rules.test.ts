/**
 * Each rule finds a fault where there is one; that the project itself has none is checked by `npm run
 * verify`.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";

const SCRIPT = resolve(import.meta.dirname, "code-rules.mjs");
const folder = mkdtempSync(join(tmpdir(), "code-rules-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

beforeEach(() => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder);
  execFileSync("git", ["init", "-q", folder]);
});

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

function check(rule: string): { status: number | null; output: string } {
  const { status, stdout } = spawnSync(process.execPath, [SCRIPT, "--root", folder, "--only", rule], {
    encoding: "utf8",
  });
  return { status, output: stdout };
}

const lines = (count: number): string => Array.from({ length: count }, () => "  x();").join("\n");

describe("code rules", () => {
  it.each([
    ["words", "src/a.ts", "export const rotaOf = 1;\n", "src/a.ts:1 rotaOf"],
    ["words", "src/seat.ts", "export {};\n", "src/seat.ts:1 file name"],
    ["words", "docs/a.md", "A picture of a cat.\n", 'docs/a.md:1 "picture": say image'],
    ["words", "src/a.ts", 'throw new Error("The picture is too large.");\n', 'src/a.ts:1 "picture"'],
    ["comments", "src/a.ts", "/** What is on. */\nexport const a = 1;\n", "src/a.ts:1 What is on."],
    ["functions", "src/a.ts", `export function long() {\n${lines(70)}\n}\n`, "long has 72 lines"],
    ["functions", "src/a.ts", `export const long = () => {\n${lines(70)}\n};\n`, "long has 72 lines"],
    ["lines", "docs/a.md", `${"word ".repeat(30)}\n`, "docs/a.md:1 150 characters"],
    [
      "aggregates",
      "src/a.ts",
      `interface AllParts {\n${Array.from({ length: 16 }, (_, i) => `  f${i}: string;`).join("\n")}\n}\n`,
      "AllParts has 16 fields",
    ],
    ["words", "src/a.ts", "export const rota2 = 1;\n", "src/a.ts:1 rota2"],
    ["json", "src/api/a.ts", "export const a = JSON.parse(text);\n", "src/api/a.ts:1 JSON.parse rounds"],
    ["json", "src/api/a.ts", "export const a = JSON.stringify(b, null, 2);\n", "JSON.stringify rounds"],
    ["json", "src/cli/a.ts", "export const a = await reply.json();\n", "src/cli/a.ts:1 reply.json rounds"],
    [
      "timeouts",
      "src/a.test.ts",
      'it("a", () => {}, 5_000);\n',
      "src/a.test.ts:1 it has a timeout of its own",
    ],
    [
      "timeouts",
      "src/a.test.ts",
      "await expect.poll(a, { timeout: 9 }).toBe(1);\n",
      "src/a.test.ts:1 poll has",
    ],
    ["timeouts", "src/a.test.ts", 'describe.each([1])("%s", { timeout: 9 }, () => {});\n', "describe has"],
    ["words", "src/a.ts", 'export const row = { "rota-of": 1 };\n', "src/a.ts:1 rota-of"],
    [
      "aggregates",
      "src/a.ts",
      `type AllParts = Other & {${Array.from({ length: 16 }, (_, i) => ` f${i}: string;`).join("")} };\n`,
      "AllParts has 16 fields",
    ],
  ])("%s: finds the fault in %s", (rule, path, text, finding) => {
    write(path, text);
    const { status, output } = check(rule);
    expect(output).toContain(finding);
    expect(status).toBe(1);
  });

  it("refuses a path prefix that no file has, since nothing would be checked", () => {
    write("src/a.ts", "export {};\n");
    const { status, stderr } = spawnSync(process.execPath, [SCRIPT, "--root", folder, "src/typo"], {
      encoding: "utf8",
    });
    expect(stderr).toContain("src/typo");
    expect(status).toBe(2);
  });

  it("folders: counts source files, and leaves tests out", () => {
    for (let count = 0; count < 20; count++) {
      write(`src/full/f${count}.ts`, "");
      write(`src/full/f${count}.test.ts`, "");
    }
    expect(check("folders").status).toBe(0);
    write("src/full/one-more.ts", "");
    expect(check("folders")).toMatchObject({ status: 1, output: expect.stringContaining("21 files") });
  });

  it("json: leaves tests out, what holds no caller's values, and other functions of these names", () => {
    write("src/a.test.ts", "export const a = JSON.parse(text);\n");
    write("src/config/a.ts", "export const a = JSON.parse(text);\n");
    write("src/a.ts", "export const a = [sql.json(rows), YAML.parse(text)];\n");
    expect(check("json")).toMatchObject({ status: 0 });
  });

  it("comments: allows three in a hundred", () => {
    write("src/a.ts", "/** Reads a thing. */\nexport const a = 1;\n".repeat(40));
    write("src/b.ts", "/** Where it is. */\nexport const b = 1;\n");
    expect(check("comments")).toMatchObject({ status: 0, output: expect.stringContaining("1 of 41") });
  });

  it("lines: leaves tables and links out", () => {
    write("docs/a.md", `| ${"cell ".repeat(30)}|\n[a](https://example.com/${"x".repeat(120)})\n`);
    expect(check("lines").status).toBe(0);
  });

  it("refuses a rule that it does not have, by the list of those it has", () => {
    const { status, stderr } = spawnSync(process.execPath, [SCRIPT, "--only", "beauty"], {
      encoding: "utf8",
    });
    expect(status).toBe(2);
    expect(stderr).toContain('There is no rule "beauty"; the rules are words, comments,');
  });
});
