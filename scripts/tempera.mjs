#!/usr/bin/env node
/**
 * The `tempera` command: `npx tempera …` in a clone, `tempera …` once linked. It runs from `dist/` if that
 * was built after the last change of the source, else from the source.
 */
import { readdirSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";

const SOURCE = fileURLToPath(new URL("../src/", import.meta.url));
const BUILT = fileURLToPath(new URL("../dist/built.json", import.meta.url));

if (isBuilt()) {
  await import("../dist/cli/tempera.js");
} else {
  process.argv.splice(2, 0, "tempera");
  await import("./run.mjs");
}

function isBuilt() {
  const builtMs = statSync(BUILT, { throwIfNoEntry: false })?.mtimeMs;
  if (builtMs === undefined) return false;
  // A container image has no source.
  if (!statSync(SOURCE, { throwIfNoEntry: false })) return true;
  const names = readdirSync(SOURCE, { recursive: true, encoding: "utf8" });
  return names.every((name) => statSync(SOURCE + name).mtimeMs <= builtMs);
}
