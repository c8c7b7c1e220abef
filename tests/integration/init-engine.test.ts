/** The engine that `tempera init engine` writes: its own tests, and a request that it serves. */
import { execFile } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { pythonEnv } from "../../src/dev/services/python-env.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { runTempera } from "./tempera-command.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const run = promisify(execFile);

let test: TestPlatform;
let root: string;
let folder: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "tempera-init-"));
  await chmod(root, 0o755);
  folder = join(root, "loud-speaker");
  await run(process.execPath, [
    join(PROJECT, "scripts/tempera.mjs"),
    ...["init", "engine", "loud-speaker", "--folder", folder],
  ]);
  await install(join(folder, ".venv"));
  test = await startTestPlatform({ TEMPERA_CONFIG: join(folder, "engines.yaml") });
});
afterAll(async () => {
  await test?.[Symbol.asyncDispose]();
  await rm(root, { recursive: true, force: true });
});

/**
 * Does what the engine's README says. The packages come from the cache in place of an index; the engine
 * package is built from this project.
 */
async function install(venv: string): Promise<void> {
  const cached = await pythonEnv(join(PROJECT, "tests/setup/python/engine.txt"), {
    log: (line) => process.stderr.write(`[setup] ${line}\n`),
  });
  await run(cached, ["-m", "venv", "--without-pip", venv]);
  const [version = ""] = await readdir(join(venv, "lib"));
  const packages = join("lib", version, "site-packages");
  await writeFile(join(venv, packages, "cached.pth"), `${join(dirname(dirname(cached)), packages)}\n`);
  // A copy, since a build leaves files in its folder.
  const source = join(root, "source");
  for (const path of ["engines/python", "src/gpu-workers/contract"]) {
    await mkdir(join(source, path, ".."), { recursive: true });
    await cp(join(PROJECT, path), join(source, path), { recursive: true });
  }
  const offline = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"];
  const target = ["--python", join(venv, "bin/python")];
  await run(cached, ["-m", "pip", ...target, "install", ...offline, join(source, "engines/python")]);
  await rm(source, { recursive: true });
}

it("passes its own tests", async () => {
  const { stdout } = await run(join(folder, ".venv/bin/python"), ["-m", "pytest", "--quiet"], {
    cwd: folder,
  });
  expect(stdout).toMatch(/^3 passed/m);
});

it("writes its schemas as they came with it", async () => {
  const written = join(root, "schemas");
  await run(join(folder, ".venv/bin/python"), [join(folder, "engine.py"), "--schemas", written]);
  for (const name of ["input.json", "output.json"]) {
    const texts = [written, join(folder, "model/schemas")].map((at) => readFile(join(at, name), "utf8"));
    const [own, came] = (await Promise.all(texts)).map((text) => JSON.parse(text));
    expect(own).toEqual(came);
  }
});

it("serves a request of its model, a file in and a file out, once that is pushed", async () => {
  await runTempera(test, "models", "push", join(folder, "model"));
  const call = (input: object) =>
    test.call("/acme/loud-speaker", { method: "POST", body: JSON.stringify(input) });
  const answer = await call({ text_url: "data:text/plain,hello%0Ayou", volume: 2 });
  const { text, lines } = (await answer.json()) as { text: { url: string }; lines: number };
  expect({ status: answer.status, lines, text }).toMatchObject({
    status: 200,
    lines: 2,
    text: { content_type: "text/plain", file_name: "loud.txt", file_size: 13 },
  });
  const file = await fetch(text.url, { headers: { authorization: `Key ${test.platform.key}` } });
  expect(await file.text()).toBe("HELLO!!\nYOU!!");

  const refused = await call({ text_url: "data:application/octet-stream;base64,/////w==" });
  expect([refused.status, await refused.json()]).toEqual([
    422,
    { detail: [expect.objectContaining({ loc: ["body", "text_url"], type: "value_error" })] },
  ]);
});
