/** `npm run build`: the platform starts from `dist/` without its source, and makes an image. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPlatformClient } from "../../src/cli/platform-client.ts";
import { freePort } from "../../src/dev/services/port.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
/** The files that a build reads; an image holds the same, but for `src`. */
const COPIED = ["engines", "infra", "models", "schemas", "scripts", "src", "temporal", "package.json"];

let root: string;
let platform: ChildProcess | undefined;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "tempera-built-"));
  for (const name of [...COPIED, "package-lock.json"]) {
    cpSync(join(PROJECT, name), join(root, name), { recursive: true });
  }
  symlinkSync(join(PROJECT, "node_modules"), join(root, "node_modules"));
  // An error has what the build wrote to its standard error.
  execFileSync(process.execPath, ["scripts/build.mjs"], { cwd: root, stdio: "pipe" });
  rmSync(join(root, "src"), { recursive: true });
});
afterAll(async () => {
  if (platform && platform.exitCode === null) {
    const ended = new Promise((done) => platform?.once("exit", done));
    platform.kill("SIGTERM");
    await ended;
  }
  rmSync(root, { recursive: true, force: true });
});

/** Runs the built command. An error has what it wrote to its standard error. */
const tempera = (...args: string[]): string =>
  execFileSync(process.execPath, [join(root, "scripts/tempera.mjs"), ...args], {
    cwd: root,
    encoding: "utf8",
    stdio: "pipe",
  });

describe("a built platform without its source", () => {
  it("the command answers", () => {
    const { version } = JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8")) as {
      version: string;
    };
    expect(tempera("--version").trim()).toBe(version);
  });

  it("the command loads the platform's own code where it needs it", () => {
    expect(tempera("models", "check")).toContain("ok  fal-ai/qwen-image ");
  });

  it("starts all roles, and an engine makes an image", async () => {
    const [port, adminPort] = [await freePort(), await freePort()];
    platform = spawn(process.execPath, [join(root, "dist/bin/all-in-one.js")], {
      cwd: root,
      env: {
        ...process.env,
        TEMPERA_DATA: join(root, "data"),
        TEMPERA_PORT: String(port),
        TEMPERA_ADMIN_PORT: String(adminPort),
        TEMPERA_TEMPORAL_PORT: String(await freePort()),
        TEMPERA_TEMPORAL_UI_PORT: String(await freePort()),
        TEMPERA_POSTGRES_PORT: String(await freePort()),
        TEMPERA_WORKER_MODELS: "fal-ai/qwen-image",
        TEMPERA_GRACE_SECONDS: "0",
      },
    });
    let output = "";
    for (const stream of [platform.stdout, platform.stderr]) {
      stream?.on("data", (chunk: Buffer) => {
        output += chunk;
      });
    }
    await expect.poll(() => output, { interval: 50 }).toMatch(/Ctrl-C stops it/);
    const client = createPlatformClient({
      url: `http://localhost:${port}`,
      adminUrl: `http://localhost:${adminPort}`,
      key: readFileSync(join(root, "data/key"), "utf8").trim(),
    });
    const { request_id: id } = await client.submit("fal-ai/qwen-image", {
      prompt: "a large red circle on a blue background",
      num_inference_steps: 2,
    });
    for await (const status of client.follow("fal-ai/qwen-image", id)) expect(status.error).toBeUndefined();
    expect(await client.result("fal-ai/qwen-image", id)).toMatchObject({
      images: [{ content_type: "image/png" }],
    });
  });
});
