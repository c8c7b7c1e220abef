import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { ConfiguredEngine } from "../../../core/engines/configured-engine.ts";
import { parseJson } from "../../../core/json/exact-json.ts";
import { Cage } from "../cage/cage.ts";
import type { CagePlan } from "../cage/cage-plan.ts";
import { allPrograms, ENGINE_PROGRAMS, type EngineProgram, engineRunners } from "./engine-programs.ts";

const folder = mkdtempSync(join(tmpdir(), "tempera-configured-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const ENGINE: ConfiguredEngine = {
  command: "/opt/engine",
  args: ["a"],
  environment: [],
  readable: [],
  devices: [],
};
const programOf = (change: Partial<ConfiguredEngine>): EngineProgram =>
  allPrograms({ own: { ...ENGINE, ...change } }).own as EngineProgram;

it("stands beside the built-in engines, with the runners that it names", () => {
  expect(Object.keys(allPrograms({ own: ENGINE }))).toEqual(["own", ...Object.keys(ENGINE_PROGRAMS)]);
  expect(allPrograms()).toEqual(ENGINE_PROGRAMS);
  expect(engineRunners({ own: { ...ENGINE, runners: ["look"] }, any: ENGINE })).toMatchObject({
    own: ["look"],
    any: undefined,
    stub: ["stub"],
  });
});

it("gets the variables of GPUs and its own", () =>
  expect(programOf({ environment: ["HF_HOME"] })).toMatchObject({
    command: ["/opt/engine", "a"],
    environment: ["CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "HF_HOME"],
  }));

it("is isolated with its folders, those that its variables name, and its device files", async () => {
  const program = programOf({
    readable: [folder],
    environment: ["PYTHONPATH"],
    devices: ["/dev/null"],
  });
  const layers = { namespaces: false, user: false, landlock: false, seccomp: false, limits: true };
  const enclosed = await new Cage("best-effort", { layers, missing: [] }).enclose({
    program,
    socket: join(folder, "0/s"),
    environment: { PATH: process.env.PATH ?? "", PYTHONPATH: `${import.meta.dirname}:/` },
    device: "cpu",
    folder,
    memoryMiB: 1,
  });
  const plan = parseJson(enclosed?.environment.TEMPERA_CAGE ?? "") as unknown as CagePlan;
  expect(plan.command).toEqual(["/opt/engine", "a", join(folder, "0/s")]);
  expect(plan.readable).toEqual(expect.arrayContaining([folder, import.meta.dirname]));
  expect(plan.readable).not.toContain("/");
  expect(plan.devices).toEqual(["/dev/null"]);
});

it("may read the packages of the Python that is its command", async () => {
  const command = join(folder, "python3.11");
  writeFileSync(command, `#!/bin/sh\necho '["${command}", "/opt/venv", "", "/opt/venv/lib"]'\n`, {
    mode: 0o755,
  });
  const own = await programOf({ command, readable: ["/opt/own"] }).isolated?.({});
  expect(own?.readable).toEqual(["/opt/own", command, "/opt/venv", "/opt/venv/lib"]);
  const missing = await programOf({ command: join(folder, "python4") }).isolated?.({});
  expect(missing?.readable).toEqual([]);
});
