import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";

const SRC = join(import.meta.dirname, "..");
const OWN = readdirSync(join(SRC, "workflows")).filter((name) => /(?<!\.test)\.ts$/.test(name));

/** The platform's own workflow code, and what it loads. */
function loaded(files: string[], seen = new Set<string>()): Set<string> {
  for (const file of files) {
    if (seen.has(file)) continue;
    seen.add(file);
    const imports = readFileSync(join(SRC, file), "utf8").matchAll(
      /^(?:import|export) (?!type )[^;]*?from "(\.[^"]+\.ts)";/gms,
    );
    const found = [...imports].map(([, path = ""]) => join(dirname(file), path));
    loaded(
      found.filter((path) => !path.startsWith("workflows/pipelines/")),
      seen,
    );
  }
  return seen;
}

/** What keeps something from one call to the next, at the top of a module. */
const KEEPS = [
  /^(export )?(let|var)\s/,
  /^(export )?const\s[^=]*=\s*new (Map|Set|WeakMap|WeakSet)(<[^(]*>)?\(\)/,
  /^(export )?const\s[^=]*=\s*(\[\]|\{\});/,
  /^(export )?const\s[^=]*=\s*\/.*\/[a-z]*[gy][a-z]*;/,
];

it("is told from what it finds", () => {
  const keeps = (line: string) => KEEPS.some((pattern) => pattern.test(line));
  for (const line of [
    "let n = 0;",
    "export const seen = new Map<string, number>();",
    "const all: string[] = [];",
    "const WORD = /a/gu;",
  ])
    expect(keeps(line)).toBe(true);
  for (const line of [
    "const NAMES = new Set([1]);",
    "  let n = 0;",
    "const WORD = /^g$/u;",
    "const f = () => [];",
  ])
    expect(keeps(line)).toBe(false);
});

// All workflows of a process have these modules in common: what one of them kept there, another would find.
it.each([...loaded(OWN.map((name) => join("workflows", name)))])(
  "%s keeps nothing outside of functions",
  (file) => {
    const kept = readFileSync(join(SRC, file), "utf8")
      .split("\n")
      .filter((line) => KEEPS.some((pattern) => pattern.test(line)));
    expect(kept).toEqual([]);
  },
);
