/**
 * Runs a task of the project on a fresh clone: `node scripts/run.mjs <task> [arguments]`.
 *
 * This is plain JavaScript without dependencies, since it runs before `node_modules` exists. It checks the
 * version of Node, installs the packages if they are missing or differ from the lock file, then imports the
 * task. The task runs in this process, so that signals reach it once and its exit code is the exit code.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { constants, hostname } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The program of each task, and its first arguments. */
const TASKS = {
  "audit:signatures": ["scripts/audit-signatures.mjs"],
  "bench:diffusers": ["tests/load/bench-diffusers.ts"],
  "bench:engine": ["tests/load/bench-engine.ts"],
  "bench:isolation": ["tests/load/bench-isolation.ts"],
  "bench:limits": ["tests/load/bench-limits.ts"],
  "bench:pipeline": ["tests/load/bench-pipeline.ts"],
  "bench:queue": ["tests/load/bench-queue.ts"],
  "bench:realtime": ["tests/load/bench-realtime.ts"],
  "bench:retention": ["tests/load/bench-retention.ts"],
  "bench:strangers": ["tests/load/bench-strangers.ts"],
  "bench:sync": ["tests/load/bench-sync.ts"],
  build: ["scripts/build.mjs"],
  conformance: ["tests/conformance/main.ts"],
  demo: ["src/cli/demo.ts"],
  "gpu:prove": ["scripts/gpu-prove.mjs"],
  "models:evaluate": ["src/evaluation/models-evaluate.ts"],
  "lock:python": ["scripts/lock-python.mjs"],
  sbom: ["scripts/sbom.mjs"],
  "schemas:types": ["scripts/schema-types.ts"],
  "schemas:manifest": ["src/cli/schemas-manifest.ts"],
  "schemas:openapi": ["src/cli/schemas-openapi.ts"],
  start: ["src/bin/all-in-one.ts"],
  tempera: ["src/cli/tempera.ts"],
  test: ["node_modules/vitest/vitest.mjs", "run"],
  "test:node": ["scripts/test-node.mjs"],
  "test:production": ["tests/production/main.ts"],
  "test:python-engine": ["scripts/test-python-engine.mjs"],
  verify: ["scripts/verify.mjs"],
};

/** The oldest Node that runs this project, as in `engines` of package.json. */
const NODE_AT_LEAST = [20, 19];

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const INSTALLING = join(ROOT, ".tempera", "installing");

/** Interval at which npm is watched, in milliseconds. */
const WATCH_EVERY_MS = 250;

checkNode();
endWithNpm(process.argv[2]);
await installPackages();
await runTask(process.argv[2], process.argv.slice(3));

function checkNode() {
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (major > NODE_AT_LEAST[0] || (major === NODE_AT_LEAST[0] && minor >= NODE_AT_LEAST[1])) return;
  fail(
    `Tempera needs Node ${NODE_AT_LEAST.join(".")} or newer; this is ${process.versions.node}. ` +
      "Install Node 24 from https://nodejs.org.",
  );
}

/**
 * Sends SIGHUP to this process once npm has ended, however it ended: npm does not forward SIGHUP, nobody can
 * forward SIGKILL, and a shell between npm and this process keeps SIGTERM for itself.
 */
function endWithNpm(task) {
  const { npm_lifecycle_event: script } = process.env;
  // A task that a script of another name has started may outlive that script.
  if (script !== task && !(script === "npx" && task === "tempera")) return;
  const parent = process.ppid;
  const shellOf = shellParent(parent);
  const timer = setInterval(() => {
    if (process.ppid === parent && (shellOf === undefined || parentOf(parent) === shellOf)) return;
    clearInterval(timer);
    process.kill(process.pid, "SIGHUP");
  }, WATCH_EVERY_MS);
  timer.unref();
}

/** Returns the parent of a process that is the shell between npm and its script, else undefined. */
function shellParent(pid) {
  try {
    const isShell = /^(?:\/\S*\/)?(?:sh|bash|dash|ash|zsh)\0-c\0/.test(
      readFileSync(`/proc/${pid}/cmdline`, "utf8"),
    );
    return isShell ? parentOf(pid) : undefined;
  } catch {
    // Without /proc only the parent itself is watched. It is npm, since the script `start` begins with
    // `exec`.
    return undefined;
  }
}

/** Reads the parent of a process: the second field after its name, which may contain anything. */
function parentOf(pid) {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1).split(" ")[1]);
  } catch {
    return undefined;
  }
}

/**
 * Installs the packages if needed. `npm ci` empties `node_modules` first, so two at once would break each
 * other: the second waits for the first.
 */
async function installPackages() {
  if (isInstalled()) return;
  while (!takeLock()) await sleep(500);
  try {
    if (isInstalled()) return;
    say("Installing the packages (about a minute, once) …");
    const startedAtMs = Date.now();
    const code = await npmCi();
    rmSync(INSTALLING, { force: true });
    if (code !== 0)
      fail(
        "The packages could not be installed; the output of npm above has the reason. " +
          "Check the network and the registry, then try again.",
      );
    say(`Packages installed in ${Math.round((Date.now() - startedAtMs) / 1000)} s.`);
  } finally {
    rmSync(INSTALLING, { force: true });
  }
}

/**
 * Tells whether the packages of the lock file are installed. npm writes `node_modules/.package-lock.json`
 * last: if that is newer than the lock file, a complete install came after the last change of the lock file.
 */
function isInstalled() {
  const installed = "node_modules/.package-lock.json";
  return (
    modifiedMs(installed) > 0 &&
    (modifiedMs(installed) >= modifiedMs("package-lock.json") || hasWantedVersions(installed))
  );
}

/**
 * Compares the installed versions with the lock file. This is needed because Git gives a lock file that it
 * checks out a new modification time.
 */
function hasWantedVersions(installedFile) {
  const wanted = packagesOf("package-lock.json");
  const installed = packagesOf(installedFile);
  return Object.entries(wanted).every(
    ([path, { version, optional, peer }]) =>
      path === "" || optional || peer || installed[path]?.version === version,
  );
}

function packagesOf(file) {
  return JSON.parse(readFileSync(join(ROOT, file), "utf8")).packages;
}

function modifiedMs(file) {
  return statSync(join(ROOT, file), { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/**
 * Takes the lock file, which holds the process id of its owner. Removes it if that process no longer runs.
 */
function takeLock() {
  mkdirSync(dirname(INSTALLING), { recursive: true });
  try {
    writeFileSync(INSTALLING, String(process.pid), { flag: "wx" });
    return true;
  } catch (error) {
    if (error.code !== "EEXIST") throw error;
  }
  try {
    process.kill(Number(readFileSync(INSTALLING, "utf8")) || process.pid, 0);
  } catch (error) {
    if (error.code === "ESRCH") rmSync(INSTALLING, { force: true });
  }
  return false;
}

function npmCi() {
  const child = endOnSignal(() =>
    spawn("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"], {
      cwd: ROOT,
      // Without these, onnxruntime-node would download hundreds of megabytes of CUDA libraries that nothing
      // here uses, and node-av a program `ffmpeg`. An npm that knows `allowScripts` of package.json runs
      // neither script.
      env: { ...process.env, ONNXRUNTIME_NODE_INSTALL: "skip", SKIP_FFMPEG: "true" },
      stdio: ["ignore", "ignore", "pipe"],
      shell: process.platform === "win32",
      // A group of its own, so that a signal reaches npm's install scripts too.
      detached: process.platform !== "win32",
    }),
  );
  createInterface({ input: child.stderr }).on("line", say);
  return new Promise((resolve) => {
    child.once("error", (error) => {
      say(`npm cannot be run: ${error.message}`);
      resolve(1);
    });
    child.once("close", (code) => resolve(code ?? 1));
  });
}

/**
 * Starts the installation, stops it on the first signal, and kills it on a second one. This process ends with
 * it: its lock is removed, and the next start installs again.
 */
function endOnSignal(start) {
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"];
  let first;
  let child; // started only when a signal can reach it through `end`
  const end = (signal) => {
    // SIGHUP follows any other signal that ends npm.
    if (first && signal === "SIGHUP") return;
    try {
      process.kill(process.platform === "win32" ? child.pid : -child.pid, first ? "SIGKILL" : "SIGTERM");
    } catch {
      // It has ended.
    }
    first ??= signal;
  };
  for (const signal of signals) process.on(signal, end);
  child = start();
  child.once("close", () => {
    for (const signal of signals) process.off(signal, end);
    if (!first) return;
    rmSync(INSTALLING, { force: true });
    say(`${first}: the installation was stopped; the next start installs the packages again.`);
    process.exit(128 + constants.signals[first]);
  });
  return child;
}

async function runTask(task, args) {
  const program = Object.hasOwn(TASKS, task ?? "") ? TASKS[task] : undefined;
  if (!program) fail(`usage: node scripts/run.mjs <${Object.keys(TASKS).join("|")}> [arguments]`);
  const [file, ...before] = program;
  const path = join(ROOT, file);
  if (file.endsWith(".ts")) {
    const loader = import.meta.resolve("tsx");
    await import(loader);
    // Child processes that get the flags of this process can load TypeScript too.
    process.execArgv.push("--import", loader);
  }
  process.argv = [process.execPath, path, ...before, ...args];
  await import(pathToFileURL(path).href);
}

/** Prints a line in the format that the log of the platform will have (`log.format`). */
function say(line) {
  process.stderr.write(isJson() ? `${jsonLine("info", line)}\n` : `${line}\n`);
}

/** Tells whether the task is the platform, and its log JSON. A configuration file cannot be read yet. */
function isJson() {
  const { TEMPERA_LOG_FORMAT: format } = process.env;
  return process.argv[2] === "start" && (format || (process.stderr.isTTY ? "text" : "json")) === "json";
}

function jsonLine(level, message) {
  const time = new Date().toISOString();
  return JSON.stringify({ level, time, role: "start", pid: process.pid, hostname: hostname(), message });
}

function fail(line) {
  process.stderr.write(isJson() ? `${jsonLine("error", line)}\n` : `${line}\n`);
  process.exit(1);
}
