/** A GPU worker with engines that its configuration names, each isolated as that says. */
import { chmod, cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { stringify } from "yaml";
import type { EngineView } from "../../src/api/admin/routes/engines/engines.ts";
import { probeLayers } from "../../src/gpu-workers/worker/cage/probe-layers.ts";
import type { Look } from "./configured-engine.fixture.ts";
import { startTestPlatform, type TestPlatform } from "./platform.ts";
import { writePackage } from "./pushed-model.ts";
import { runTempera } from "./tempera-command.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const FIXTURE = join(import.meta.dirname, "configured-engine.fixture.ts");
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const SOURCES = ["src", "node_modules", "package.json", "tsconfig.json", "tests/integration"];
/** A device that no engine has by default. */
const DEVICE = "/dev/tty";
const { layers } = await probeLayers();
/** Without one of them, an engine may read what its user may. */
const hidesFiles = layers.namespaces || layers.landlock;

let test: TestPlatform;
let root: string;
let opened: string;
let hidden: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "tempera-configured-"));
  await chmod(root, 0o755);
  [opened, hidden] = [join(root, "opened"), join(root, "hidden")];
  for (const folder of [opened, hidden, join(root, "named")]) await mkdir(folder);
  vi.stubEnv("ENGINE_FOLDER", join(root, "named"));
  vi.stubEnv("ENGINE_HIDDEN", "x");
  const schemas = join(root, "schemas");
  await cp(join(PROJECT, "schemas/manifest.json"), join(schemas, "manifest.json"));
  for (const engine of ["caged", "deviceless", "free", "gone", "unnamed"]) await writeModel(engine, schemas);
  const program = {
    command: process.execPath,
    args: ["--import", TSX, FIXTURE, "--loud"],
    environment: ["ENGINE_FOLDER"],
    devices: [DEVICE],
    readable: [...SOURCES.map((name) => join(PROJECT, name)), opened],
    runners: ["look"],
  };
  const programs = {
    caged: program,
    free: { ...program, isolation: "off" },
    deviceless: { ...program, devices: [] },
    gone: { command: "/no/such/engine" },
  };
  const config = join(root, "tempera.yaml");
  await writeFile(config, stringify({ engines: { programs } }));
  vi.stubEnv("TEMPERA_CONFIG", config);
  test = await startTestPlatform({
    TEMPERA_CONFIG: config,
    TEMPERA_MODELS: join(root, "models"),
    TEMPERA_SCHEMAS: schemas,
  });
});
afterAll(async () => {
  await test[Symbol.asyncDispose]();
  vi.unstubAllEnvs();
  await rm(root, { recursive: true, force: true });
});

async function writeModel(engine: string, schemas: string): Promise<void> {
  const endpoint = `acme/${engine}`;
  const made = await writePackage(join(root, "made"), {
    endpoint,
    manifest: { engine, runner: "look", retry: { attemptsMax: 1 } },
    input: { type: "object", properties: { paths: { type: "array", items: { type: "string" } } } },
    output: { type: "object", properties: {} },
    files: {},
  });
  await cp(join(made, "schemas"), join(schemas, "models", endpoint, "1.0.0"), { recursive: true });
  await rm(join(made, "schemas"), { recursive: true });
  await cp(made, join(root, "models", endpoint, "1.0.0"), { recursive: true });
}

const run = async (engine: string) => {
  const paths = [opened, hidden, join(root, "named"), DEVICE];
  const answer = await test.call(`/acme/${engine}`, { method: "POST", body: JSON.stringify({ paths }) });
  return { status: answer.status, body: (await answer.json()) as Look };
};

describe("an engine of the configuration serves a model", () => {
  it("isolated, with the arguments, variables and folders that it is given, and no others", async () => {
    const { status, body } = await run("caged");
    expect({ status, arguments: body.arguments }).toEqual({ status: 200, arguments: ["--loud"] });
    expect(body.variables).toContain("ENGINE_FOLDER");
    expect(body.variables).not.toContain("ENGINE_HIDDEN");
    const open = [opened, join(root, "named"), DEVICE];
    expect(body.readable.sort()).toEqual((hidesFiles ? open : [...open, hidden]).sort());
  });

  it("isolated from the device files that it is not given", async () => {
    const { status, body } = await run("deviceless");
    expect({ status, hasDevice: body.readable.includes(DEVICE) }).toEqual({
      status: 200,
      hasDevice: !hidesFiles,
    });
  });

  it("not isolated, where it says so", async () => {
    const { status, body } = await run("free");
    expect({ status, readable: body.readable }).toEqual({
      status: 200,
      readable: [opened, hidden, join(root, "named"), DEVICE],
    });
    expect(body.variables).not.toContain("ENGINE_HIDDEN");
  });
});

describe("an engine that cannot be started", () => {
  const failureOf = async (engine: string): Promise<string | null | undefined> => {
    const answer = await fetch(`${test.platform.adminUrl}/v1/engines`, {
      headers: { authorization: `Key ${test.platform.key}` },
    });
    const { engines } = (await answer.json()) as { engines: EngineView[] };
    return engines.find(({ endpoint_id }) => endpoint_id === `acme/${engine}`)?.last_failure;
  };

  it("is named to the operator with the reason: no program", async () => {
    expect((await run("gone")).status).toBe(503);
    await expect.poll(() => failureOf("gone")).toContain("/no/such/engine");
  });

  it("is named to the operator by `tempera models check` and `tempera doctor`, with the remedy", async () => {
    vi.stubEnv("TEMPERA_MODELS", join(root, "models"));
    vi.stubEnv("TEMPERA_SCHEMAS", join(root, "schemas"));
    const checked = await runTempera(test, "models", "check").catch((error: { stderr: string }) => error);
    expect(checked.stderr).toContain(
      '/engine "unnamed" is no engine (caged, free, deviceless, gone, onnx, diffusers, stub); ' +
        "name its program in engines.programs of the configuration",
    );
    const { stdout } = await runTempera(test, "doctor").catch((error: { stdout: string }) => error);
    expect(stdout).toContain(`caged: ${process.execPath} --import ${TSX}`);
    expect(stdout).toContain("engines.programs.gone.command: /no/such/engine is no file on this machine");
  });
});
