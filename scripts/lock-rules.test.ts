import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, it } from "vitest";

const SCRIPT = resolve(import.meta.dirname, "lock-rules.mjs");
const folder = mkdtempSync(join(tmpdir(), "lock-rules-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const good = { version: "1.0.0", integrity: "sha512-AA==", license: "MIT" };

/** Checks a lock file of one package. */
function check(name: string, entry: object): { status: number | null; lines: string[] } {
  const file = join(folder, "package-lock.json");
  writeFileSync(
    file,
    JSON.stringify({ packages: { "": {}, [`node_modules/a/node_modules/${name}`]: entry } }),
  );
  const { status, stdout } = spawnSync(process.execPath, [SCRIPT, file], { encoding: "utf8" });
  return { status, lines: stdout.trim().split("\n") };
}

it.each([
  ["tool", good],
  ["@dbmate/darwin-x64", { ...good, integrity: undefined }],
  ["unionfs", { ...good, license: undefined }],
  ["tool", { ...good, license: "(GPL-3.0-only OR ISC)" }],
  ["tool", { ...good, license: "MIT AND ISC" }],
  ["tool", { link: true }],
])("permits %s with %j", (name, entry) =>
  expect(check(name, entry)).toEqual({ status: 0, lines: ["package-lock.json holds"] }),
);

it.each([
  [{ integrity: undefined }, "tool 1.0.0 has no integrity; delete its entry and run npm install"],
  [{ license: "GPL-3.0-only" }, "tool 1.0.0 has the licence GPL-3.0-only, which is not on the list"],
  [
    { license: "MIT AND GPL-3.0-only" },
    "tool 1.0.0 has the licence MIT AND GPL-3.0-only, which is not on the list",
  ],
  [{ license: undefined }, "tool 1.0.0 has the licence none, which is not on the list"],
])("refuses a package with %j", (change, finding) =>
  expect(check("tool", { ...good, ...change })).toEqual({ status: 1, lines: [finding, "1 findings"] }),
);
