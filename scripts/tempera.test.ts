/** `scripts/tempera.mjs`: the command runs from `dist/` only while that is newer than its sources. */
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const FILES = {
  "package.json": '{ "type": "module" }',
  "package-lock.json": "{}",
  "src/core/limits.ts": "",
  "schemas/pipelines/text-to-video/input.json": "{}",
  "scripts/run.mjs": 'process.stdout.write("source");',
  "dist/cli/tempera.js": 'process.stdout.write("dist");',
  "dist/built.json": "{}",
};
/** Seconds since 1970 at which the project was built. */
const BUILT = 1_800_000_000;

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tempera-command-"));
  for (const [name, text] of Object.entries(FILES)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  copyFileSync(join(import.meta.dirname, "tempera.mjs"), join(root, "scripts/tempera.mjs"));
  for (const name of readdirSync(root, { recursive: true, encoding: "utf8" })) setTime(name, BUILT - 60);
  setTime("dist/built.json", BUILT);
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

const setTime = (name: string, seconds: number) => utimesSync(join(root, name), seconds, seconds);
const runsFrom = () =>
  execFileSync(process.execPath, [join(root, "scripts/tempera.mjs")], { encoding: "utf8", stdio: "pipe" });

describe("the tempera command", () => {
  it("runs from dist/ when that was built last", () => expect(runsFrom()).toBe("dist"));

  it("runs from dist/ where there is no source, as in an image", () => {
    rmSync(join(root, "src"), { recursive: true });
    setTime("package-lock.json", BUILT + 60);
    expect(runsFrom()).toBe("dist");
  });

  it.each([
    "src/core/limits.ts",
    "src/core",
    "schemas/pipelines/text-to-video/input.json",
    "package-lock.json",
  ])("runs from the source after a change of %s", (name) => {
    setTime(name, BUILT + 60);
    expect(runsFrom()).toBe("source");
  });

  it("overlooks links that lead nowhere, as editors make for open files", () => {
    symlinkSync("nobody@nowhere:1", join(root, "src/core/.#limits.ts"));
    setTime("src/core", BUILT - 60);
    expect(runsFrom()).toBe("dist");
  });
});
