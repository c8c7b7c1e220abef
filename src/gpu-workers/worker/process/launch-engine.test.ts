import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { connectEngine } from "../../contract/engine-protocol.ts";
import { ENGINE_PROGRAMS, type EngineProgram } from "./engine-programs.ts";

it.skipIf(!existsSync("/proc/self/maps"))(
  "starts an engine without loading FFmpeg, which is large and under the GPL",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "tempera-launch-"));
    const socket = join(folder, "engine.sock");
    const [command, ...args] = (ENGINE_PROGRAMS.onnx as EngineProgram).command;
    const engine = spawn(command, [...args, socket], { stdio: ["pipe", "inherit", "inherit"] });
    const client = connectEngine(socket);
    try {
      await new Promise<void>((resolve, reject) =>
        client.waitForReady(Date.now() + 300_000, (error) => (error ? reject(error) : resolve())),
      );
      const loaded = await readFile(`/proc/${engine.pid}/maps`, "utf8");
      expect(loaded).toContain("onnxruntime");
      expect(loaded).not.toContain("node-av");
    } finally {
      client.close();
      engine.kill("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    }
  },
);
