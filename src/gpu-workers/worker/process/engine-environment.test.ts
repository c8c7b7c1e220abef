import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import type { ModelVersion } from "../../../core/models/model.ts";
import { startEngine } from "./engine-process.ts";

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
