/**
 * Runs every static check, names those that failed, and exits with 1 if any did. `--json <file>` also writes
 * `{"passed","failed"}`.
 */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");

const CHECKS = [
  { name: "types", file: "node_modules/@typescript/native/bin/tsc", args: ["--noEmit"] },
  { name: "style", file: "node_modules/@biomejs/biome/bin/biome", args: ["check"] },
  {
    name: "import rules",
    file: "node_modules/dependency-cruiser/bin/dependency-cruise.mjs",
    args: ["--config", ".dependency-cruiser.cjs", "--output-type", "err-long", "src", "tests"],
  },
  { name: "code rules", file: "scripts/code-rules.mjs", args: [] },
  { name: "locked packages", file: "scripts/lock-rules.mjs", args: [] },
  { name: "unused code", file: "node_modules/knip/bin/knip.js", args: ["--no-progress"] },
];

const failed = [];
for (const check of CHECKS) {
  process.stdout.write(`\n--- ${check.name}\n`);
  const code = await run(check);
  if (code !== 0) failed.push(check.name);
}
const names = failed.length > 0 ? ` (${failed.join(", ")})` : "";
process.stdout.write(`\nverify: ${CHECKS.length - failed.length} passed, ${failed.length} failed${names}\n`);

const jsonAt = process.argv.indexOf("--json");
if (jsonAt > 0)
  writeFileSync(
    process.argv[jsonAt + 1],
    JSON.stringify({ passed: CHECKS.length - failed.length, failed: failed.length, failures: failed }),
  );
process.exitCode = failed.length > 0 ? 1 : 0;

function run({ file, args }) {
  const child = spawn(process.execPath, [join(ROOT, file), ...args], {
    cwd: ROOT,
    stdio: ["ignore", "inherit", "inherit"],
  });
  return new Promise((resolve) => {
    child.once("error", (error) => {
      process.stdout.write(`${error.message}\n`);
      resolve(1);
    });
    child.once("close", (code) => resolve(code ?? 1));
  });
}
