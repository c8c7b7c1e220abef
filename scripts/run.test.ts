import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isAlive } from "../src/dev/services/install-lock.ts";

const PROJECT = resolve(import.meta.dirname, "..");

/** An npm that never finishes. It writes the ids of itself and of a script that it runs. */
const SLOW_NPM = `#!/bin/sh
sleep 600 &
echo "$$ $!" > "$INSTALLERS.draft" && mv "$INSTALLERS.draft" "$INSTALLERS"
wait
`;

/** A parent that runs the project's script as npm does. */
const PARENT = `
require("node:child_process").spawn(process.argv[1], process.argv.slice(2), { stdio: "inherit" });
setInterval(() => {}, 1000);
`;

let folder: string;
let env: NodeJS.ProcessEnv;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "tempera-run-"));
  await mkdir(join(folder, "scripts"));
  await mkdir(join(folder, "bin"));
  await cp(join(PROJECT, "scripts/run.mjs"), join(folder, "scripts/run.mjs"));
  await writeFile(join(folder, "package-lock.json"), "{}");
  await writeFile(join(folder, "bin/npm"), SLOW_NPM, { mode: 0o755 });
  env = {
    ...process.env,
    PATH: [join(folder, "bin"), process.env.PATH].join(delimiter),
    INSTALLERS: join(folder, "installers"),
    npm_lifecycle_event: "start",
  };
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const lock = () => join(folder, ".tempera/installing");

/** Resolves with the processes of an installation in progress, the holder of its lock first. */
async function installing(): Promise<number[]> {
  await expect.poll(() => stat(join(folder, "installers")).catch(() => undefined), WAIT).toBeDefined();
  const installers = (await readFile(join(folder, "installers"), "utf8")).trim().split(" ").map(Number);
  return [Number(await readFile(lock(), "utf8")), ...installers];
}

const WAIT = { interval: 20 };
const script = () => join(folder, "scripts/run.mjs");
const output = (child: ChildProcess): (() => string) => {
  let text = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    text += chunk;
  });
  return () => text;
};

describe("the first set-up", () => {
  it.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("ends with all its processes at %s", async (signal) => {
    const child = spawn(process.execPath, [script(), "start"], { env, stdio: ["ignore", "ignore", "pipe"] });
    const text = output(child);
    const processes = await installing();
    child.kill(signal);
    const [code] = await once(child, "exit");
    expect(code).toBe({ SIGINT: 130, SIGTERM: 143, SIGHUP: 129 }[signal]);
    expect(text()).toContain(`${signal}: the installation was stopped`);
    await expect.poll(() => processes.filter(isAlive), WAIT).toEqual([]);
    await expect(stat(lock())).rejects.toThrow("ENOENT");
  });

  it.each([
    ["npm", [process.execPath]],
    ["npm, with a shell in between", ["/bin/sh", "-c", '"$0" "$@"; exit $?', process.execPath]],
  ])("ends with all its processes when %s is killed", async (_, command) => {
    const parent = spawn(process.execPath, ["-e", PARENT, ...command, script(), "start"], {
      env,
      stdio: "ignore",
    });
    const processes = await installing();
    parent.kill("SIGKILL");
    await expect.poll(() => processes.filter(isAlive), WAIT).toEqual([]);
    await expect(stat(lock())).rejects.toThrow("ENOENT");
  });
});

describe("an installation that fails", () => {
  const run = async (format: string): Promise<{ code: unknown; lines: string[] }> => {
    const failing = "#!/bin/sh\necho 'npm error code E404' >&2\nexit 1\n";
    await writeFile(join(folder, "bin/npm"), failing, { mode: 0o755 });
    const child = spawn(process.execPath, [script(), "start"], {
      env: { ...env, TEMPERA_LOG_FORMAT: format },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const text = output(child);
    const [code] = await once(child, "close");
    return { code, lines: text().trim().split("\n") };
  };

  it("is told in lines of JSON where the log is JSON", async () => {
    const { code, lines } = await run("json");
    expect(code).toBe(1);
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ level: "info", message: expect.stringContaining("Installing the packages") }),
      expect.objectContaining({ level: "info", message: "npm error code E404" }),
      expect.objectContaining({ level: "error", message: expect.stringContaining("could not be installed") }),
    ]);
  });

  it("is told in text otherwise", async () => {
    const { lines } = await run("text");
    expect(lines[1]).toBe("npm error code E404");
  });
});
