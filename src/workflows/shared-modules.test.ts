import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";

const SRC = join(import.meta.dirname, "..");
const OWN = readdirSync(join(SRC, "workflows")).filter((name) => /(?<!\.test)\.ts$/.test(name));

/** Returns the platform's own workflow code and every module that it loads. */
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

/** Declarations at the top of a module that keep state from one call to the next. */
const STATEFUL = [
  /^(export )?(let|var)\s/,
  /^(export )?const\s[^=]*=\s*new (Map|Set|WeakMap|WeakSet)(<[^(]*>)?\(\)/,
  /^(export )?const\s[^=]*=\s*(\[\]|\{\});/,
  /^(export )?const\s[^=]*=\s*\/.*\/[a-z]*[gy][a-z]*;/,
];

it("recognises declarations that keep state", () => {
  const isStateful = (line: string) => STATEFUL.some((pattern) => pattern.test(line));
  for (const line of [
    "let n = 0;",
    "export const seen = new Map<string, number>();",
    "const all: string[] = [];",
    "const WORD = /a/gu;",
  ])
    expect(isStateful(line)).toBe(true);
  for (const line of [
    "const NAMES = new Set([1]);",
    "  let n = 0;",
    "const WORD = /^g$/u;",
    "const f = () => [];",
  ])
    expect(isStateful(line)).toBe(false);
});

// All workflows of a process share these modules: one would see the state that another left in them.
it.each([...loaded(OWN.map((name) => join("workflows", name)))])(
  "%s keeps no state outside of functions",
  (file) => {
    const stateful = readFileSync(join(SRC, file), "utf8")
      .split("\n")
      .filter((line) => STATEFUL.some((pattern) => pattern.test(line)));
    expect(stateful).toEqual([]);
  },
);
