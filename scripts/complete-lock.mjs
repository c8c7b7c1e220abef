/**
 * Adds the missing builds for other platforms to package-lock.json: run `node scripts/complete-lock.mjs`
 * after a change of the dependencies.
 *
 * A package with native parts names one optional package for each platform. npm omits from the lock file the
 * ones that its registry (a mirror, a restricted network) does not have, and `npm ci` then refuses the file
 * on every machine. This script adds the missing ones by name, version and platform; npm installs the one
 * that fits and skips the rest.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FILE = join(dirname(fileURLToPath(import.meta.url)), "..", "package-lock.json");
const SYSTEMS = ["aix", "android", "darwin", "freebsd", "linux", "openharmony", "sunos", "win32", "windows"];
const PROCESSORS = ["arm64", "arm", "ia32", "loong64", "mips64el", "ppc64", "riscv64", "s390x", "x64"];

const lock = JSON.parse(readFileSync(FILE, "utf8"));
const added = {};
for (const [path, entry] of Object.entries(lock.packages)) {
  for (const [name, range] of Object.entries(entry.optionalDependencies ?? {})) {
    const isLocked =
      `node_modules/${name}` in lock.packages || `${path}/node_modules/${name}` in lock.packages;
    const platform = platformOf(name);
    if (isLocked || !platform) continue;
    added[`node_modules/${name}`] = {
      version: range.replace(/^[~^]/, ""),
      ...platform,
      optional: true,
      ...(entry.dev && { dev: true }),
    };
  }
}
const root = lock.packages[""];
const rest = Object.entries({ ...lock.packages, ...added }).filter(([path]) => path !== "");
lock.packages = { "": root, ...Object.fromEntries(rest.sort(([a], [b]) => a.localeCompare(b, "en"))) };
writeFileSync(FILE, `${JSON.stringify(lock, null, 2)}\n`);
process.stdout.write(`${Object.keys(added).length} added\n`);

/** Reads the platform from a package name: `…-linux-arm-gnueabihf` → linux, arm. */
function platformOf(name) {
  const words = name.split(/[-/]/);
  const os = SYSTEMS.find((system) => words.includes(system));
  const cpu = PROCESSORS.find((processor) => words.includes(processor));
  if (!os || !cpu) return undefined;
  return {
    os: [os === "windows" ? "win32" : os],
    cpu: [cpu],
    ...(name.includes("musl") && { libc: ["musl"] }),
  };
}
