#!/usr/bin/env node
/**
 * The `tempera` command: `npx tempera …` in a clone, `tempera …` once linked. It runs from `dist/` if that
 * was built after the last change of what it is built from, else from the source.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const BUILT = fileURLToPath(new URL("../dist/built.json", import.meta.url));
/** Contents of `dist/`: the source; in its bundles also schemas of pipelines, and code of packages. */
const [SOURCE, ...OTHERS] = ["src", "schemas/pipelines", "package-lock.json"].map((name) =>
  fileURLToPath(new URL(`../${name}`, import.meta.url)),
);

if (isBuilt()) {
  await import("../dist/cli/tempera.js");
} else {
  process.argv.splice(2, 0, "tempera");
  await import("./run.mjs");
}

function isBuilt() {
  const builtMs = changedMs(BUILT);
  if (builtMs === 0) return false;
  // A container image has no source.
  if (changedMs(SOURCE) === 0) return true;
  return [SOURCE, ...OTHERS].flatMap(filesOf).every((path) => changedMs(path) <= builtMs);
}

/** Lists a file, or a folder with everything in it. */
function filesOf(path) {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory();
  return isFolder
    ? [path, ...readdirSync(path, { recursive: true }).map((name) => join(path, name))]
    : [path];
}

/** Returns when a file was changed last; 0 when there is none, as behind the links of some editors. */
function changedMs(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}
