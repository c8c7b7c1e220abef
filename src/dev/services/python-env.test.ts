import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { pythonEnv } from "./python-env.ts";

const run = promisify(execFile);
const HEAD = "# Python 3.10 or newer.\n";
let folder: string;
let installations = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "python-env-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Installs a list into a cache of its own. */
async function install(list: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const cache = join(folder, `cache-${installations++}`);
  await mkdir(cache);
  const file = join(cache, "packages.txt");
  await writeFile(file, list);
  return pythonEnv(file, { log: () => {}, env: { ...process.env, TEMPERA_CACHE: cache, ...env } });
}

describe("an unusable Python", () => {
  const pythonOf = async (version: string): Promise<string> => {
    const program = join(folder, version);
    await writeFile(program, `#!/bin/sh\necho Python ${version}\n`, { mode: 0o755 });
    return program;
  };

  it.each(["3.9.2", "3.8.18", "2.7.18"])(
    "%s is refused by name, before anything is installed",
    async (version) => {
      await expect(install(HEAD, { PYTHON: await pythonOf(version) })).rejects.toMatchObject({
        code: "setup_failed",
        message: expect.stringContaining(`is Python ${version}; install Python 3.10 or newer with venv`),
      });
    },
  );

  it("names the remedy for a missing one", async () => {
    await expect(install(HEAD, { PYTHON: "/no/such/python" })).rejects.toMatchObject({
      code: "setup_failed",
      message: expect.stringContaining("install Python 3.10 or newer"),
    });
  });
});

/** Makes a wheel that prints when it is imported, needs `needs`, and returns its SHA-256. */
async function makeWheel(index: string, name: string, printed: string, needs?: string): Promise<string> {
  await mkdir(index, { recursive: true });
  const file = join(index, `${name}-1.0-py3-none-any.whl`);
  const dependency = needs === undefined ? "" : `Requires-Dist: ${needs}\n`;
  const metadata = `Metadata-Version: 2.1\nName: ${name}\nVersion: 1.0\n${dependency}`;
  const entries = {
    [`${name}.py`]: `print(${JSON.stringify(printed)})\n`,
    [`${name}-1.0.dist-info/METADATA`]: metadata,
    [`${name}-1.0.dist-info/WHEEL`]: "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    [`${name}-1.0.dist-info/RECORD`]: "",
  };
  const zip =
    "import json,sys,zipfile\n" +
    "with zipfile.ZipFile(sys.argv[1], 'w') as z:\n" +
    "  [z.writestr(name, text) for name, text in json.loads(sys.argv[2]).items()]";
  await run("python3", ["-c", zip, file, JSON.stringify(entries)]);
  return createHash("sha256")
    .update(await readFile(file))
    .digest("hex");
}

describe("packages", () => {
  const indexOf = (name: string): { index: string; env: NodeJS.ProcessEnv } => {
    const index = join(folder, name);
    return { index, env: { PIP_NO_INDEX: "1", PIP_FIND_LINKS: index } };
  };

  it("that the list names are installed", async () => {
    const { index, env } = indexOf("reviewed");
    const sha256 = await makeWheel(index, "reviewed", "as reviewed");
    const python = await install(`${HEAD}reviewed==1.0 --hash=sha256:${sha256}\n`, env);
    expect((await run(python, ["-c", "import reviewed"])).stdout).toBe("as reviewed\n");
  });

  it("with other bytes are refused, and nothing of them is left", async () => {
    const { index, env } = indexOf("exchanged");
    const sha256 = await makeWheel(index, "exchanged", "as reviewed");
    await makeWheel(index, "exchanged", "as a thief likes it");
    await expect(install(`${HEAD}exchanged==1.0 --hash=sha256:${sha256}\n`, env)).rejects.toMatchObject({
      code: "setup_failed",
      message: expect.stringContaining("has another SHA-256 than was reviewed"),
    });
    const left = await readdir(join(folder, `cache-${installations - 1}`), { recursive: true });
    expect(left.filter((path) => /exchanged|complete$/.test(path))).toEqual([]);
  });

  it("that a package needs and the list does not name are refused", async () => {
    const { index, env } = indexOf("unnamed");
    const sha256 = await makeWheel(index, "needy", "needs more", "unnamed==1.0");
    await makeWheel(index, "unnamed", "nobody reviewed this");
    const installed = install(`${HEAD}needy==1.0 --hash=sha256:${sha256}\n`, env);
    await expect(installed).rejects.toMatchObject({ code: "setup_failed" });
  });
});

it("every list pins each package by the digests of its files", async () => {
  const root = join(import.meta.dirname, "../../..");
  const tests = join(root, "tests/setup/python");
  const lists = (await readdir(tests))
    .filter((name) => name.endsWith(".txt"))
    .map((name) => join(tests, name));
  expect(lists).not.toEqual([]);
  for (const list of [...lists, join(root, "engines/python/requirements.txt")]) {
    const text = await readFile(list, "utf8");
    const requested = (await readFile(list.replace(/\.txt$/, ".in"), "utf8")).match(/^[^#\s].*$/gm) ?? [];
    for (const name of requested)
      expect(text.toLowerCase().replaceAll("_", "-")).toContain(name.replaceAll("_", "-"));
    // A line for each package, continued by its digests.
    for (const line of text.replaceAll("\\\n", "").split("\n").slice(1).filter(Boolean))
      expect(line).toMatch(/^[\w.-]+==\S+( ; [^-]*?)?(\s+--hash=sha256:[0-9a-f]{64})+$/);
  }
});
