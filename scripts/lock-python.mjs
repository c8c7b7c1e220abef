/**
 * Pins the Python packages of the tests and of the engines, with everything that they need and the SHA-256 of
 * each of their files: `npm run lock:python [-- --upgrade]`. Needs uv (https://docs.astral.sh/uv/).
 *
 * A list `<name>.in` has the packages that are asked for; its first line names the oldest Python. The result
 * is `<name>.txt` beside it, for every platform and for that Python and newer ones. Only wheels are pinned:
 * to build a package would run code that nothing pins.
 */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const FOLDERS = ["engines/python", "tests/setup/python"];
const OPTIONS = "--universal --generate-hashes --only-binary :all: --no-annotate --no-header --quiet";

for (const folder of FOLDERS)
  for (const list of readdirSync(join(ROOT, folder)).filter((name) => name.endsWith(".in"))) {
    const path = join(ROOT, folder, list);
    const [, python] = /^#.*Python (\d+\.\d+) or newer/.exec(readFileSync(path, "utf8")) ?? [];
    if (!python)
      throw new Error(`${path}: the first line must say "# Python 3.10 or newer", or another one.`);
    const lock = path.replace(/\.in$/, ".txt");
    const options = [...OPTIONS.split(" "), "--python-version", python, ...process.argv.slice(2)];
    try {
      execFileSync("uv", ["pip", "compile", ...options, path, "--output-file", lock], { stdio: "inherit" });
    } catch (error) {
      if (error.code !== "ENOENT") process.exit(1);
      process.stderr.write("uv cannot be run; install it: https://docs.astral.sh/uv/\n");
      process.exit(1);
    }
    const head = `# Python ${python} or newer. Written by \`npm run lock:python\` from ${list}.\n`;
    writeFileSync(lock, head + readFileSync(lock, "utf8").replace(/^#.*\n/, ""));
  }
