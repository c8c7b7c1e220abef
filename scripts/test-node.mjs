/**
 * Runs tests on another version of Node: `npm run test:node -- 24 [vitest arguments]`. Without arguments, it
 * runs the unit tests and the core of the queue against real services.
 *
 * The npm package `node` contains the binary. It is installed once for each version, outside of the project.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const CORE = [
  ["--project", "unit"],
  ["--project", "services", "tests/integration/queue.test.ts", "tests/replay"],
];

const [version, ...args] = process.argv.slice(2);
if (!/^\d+(\.\d+){0,2}$/.test(version ?? "")) {
  process.stderr.write("usage: npm run test:node -- <version, such as 24> [vitest arguments]\n");
  process.exit(2);
}
const node = installNode(version);
const found = spawnSync(node, ["--version"], { encoding: "utf8" }).stdout.trim();
process.stderr.write(`Testing on Node ${found}.\n`);
for (const each of args.length > 0 ? [args] : CORE) {
  const code = await run(node, [join(ROOT, "node_modules/vitest/vitest.mjs"), "run", ...each]);
  if (code !== 0) process.exit(code);
}

function installNode(wanted) {
  const cache = process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache");
  const folder = join(cache, "tempera", `node-${wanted}`);
  const binary = join(folder, "node_modules/node/bin/node");
  if (existsSync(binary)) return binary;
  mkdirSync(folder, { recursive: true });
  const npm = ["install", "--prefix", folder, "--no-save", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", [...npm, `node@${wanted}`], { stdio: ["ignore", "ignore", "inherit"] });
  if (status === 0 && existsSync(binary)) return binary;
  process.stderr.write(
    `Node ${wanted} cannot be installed from the npm registry; check the version and the network.\n`,
  );
  return process.exit(1);
}

function run(program, argv) {
  // Child processes find this Node first: the roles are started as `node`.
  const env = { ...process.env, PATH: `${dirname(program)}:${process.env.PATH}` };
  const child = spawn(program, argv, { cwd: ROOT, env, stdio: "inherit" });
  return new Promise((resolve) => child.once("close", (code) => resolve(code ?? 1)));
}
