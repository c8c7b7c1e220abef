import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import type { ModelVersion } from "../../../core/models/model.ts";
import { startEngine } from "./engine-process.ts";
import { withEnvironment } from "./engine-programs.ts";

const folder = mkdtempSync(join(tmpdir(), "tempera-engine-"));
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true, force: true });
});

it("hides the platform's secrets from engines, which run other people's code", async () => {
  for (const name of [
    "DATABASE_URL",
    "REDIS_URL",
    "S3_SECRET_KEY",
    "TEMPERA_ADMIN_KEY",
    "TEMPERA_KEY_PEPPER",
    "TEMPERA_PAYLOAD_KEYS",
    "TEMPERA_KEY",
  ])
    vi.stubEnv(name, "hunter2");
  const print =
    "const leaks = JSON.stringify(process.env).includes('hunter2');" +
    "console.error(Object.keys(process.env).sort().join() + (leaks ? ' LEAK' : ' tight')); process.exit(1)";
  const started = startEngine({
    model: { endpoint: "e/e", version: "1.0.0", timeouts: { loadMs: 20_000 } } as ModelVersion,
    program: { command: [process.execPath, "-e", print] },
    socket: join(folder, "s"),
    workerName: "w",
    log: () => {},
    signal: new AbortController().signal,
  });
  await expect(started).rejects.toThrow(/TEMPERA_DEVICE.* tight/);
});

it("hands an engine the variables that the operator names, besides its own", async () => {
  vi.stubEnv("PYTORCH_ALLOC_CONF", "expandable_segments:True");
  vi.stubEnv("NCCL_DEBUG", "WARN");
  vi.stubEnv("OMP_NUM_THREADS", "4");
  const print = "console.error(Object.keys(process.env).sort().join()); process.exit(1)";
  const { print: program } = withEnvironment(
    { print: { command: [process.execPath, "-e", print], environment: ["OMP_NUM_THREADS"] } },
    ["PYTORCH_ALLOC_CONF", "NOT_SET"],
  );
  const started = startEngine({
    model: { endpoint: "e/e", version: "1.0.0", timeouts: { loadMs: 20_000 } } as ModelVersion,
    program: program ?? { command: ["false"] },
    socket: join(folder, "s"),
    workerName: "w",
    log: () => {},
    signal: new AbortController().signal,
  });
  await expect(started).rejects.toThrow(/OMP_NUM_THREADS,PATH,PYTORCH_ALLOC_CONF,TEMPERA_DEVICE/);
});

it("lets an isolated engine read the folders that such variables name, and no more", async () => {
  const isolated = async () => ({ readable: ["/opt/engine"], environment: { A: "b" } });
  const names = ["HF_HOME", "TRITON_CACHE_DIR", "NCCL_DEBUG", "ROOT", "UNSET"];
  const { caged, bare } = withEnvironment(
    { caged: { command: ["a"], isolated }, bare: { command: ["a"] } },
    names,
  );
  const environment = {
    ...{ HF_HOME: "/srv/hf", TRITON_CACHE_DIR: "cache", NCCL_DEBUG: "WARN", ROOT: "/srv/.." },
    ...{ LD_LIBRARY_PATH: "/srv/own" },
  };
  expect(await caged?.isolated?.(environment)).toEqual({
    readable: ["/opt/engine", "/srv/hf"],
    environment: { A: "b" },
  });
  expect(await bare?.isolated?.(environment)).toEqual({ readable: ["/srv/hf"] });
});
