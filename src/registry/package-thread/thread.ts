/**
 * The package thread: parses and checks the texts of packages. `PackageThread` starts it, gives it one task
 * at a time, and ends it when a task takes too long.
 */
import { parentPort } from "node:worker_threads";
import { READY } from "../deadline-thread.ts";
import { createManifestCheck } from "../packages/package-check.ts";
import { createContentCheck } from "../packages/package-content.ts";
import type { Answer, Task } from "./task.ts";

async function perform({ content, schemasFolder, engines }: Task): Promise<Answer> {
  const warnings: Answer["warnings"] = [];
  const warn = (about: object, message: string): void => void warnings.push({ about, message });
  const check = createContentCheck(createManifestCheck(schemasFolder, { warn }), engines);
  return { checked: await check(content), warnings };
}

parentPort?.on("message", async (task: Task) => parentPort?.postMessage(await perform(task)));
parentPort?.postMessage(READY);
