/**
 * Builds the bundles that processes of `dist/` start from: the workflow code and the built-in engines. It is
 * a part of `npm run build`, which runs it from `dist/` itself.
 */
import { execFileSync } from "node:child_process";
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { ENCODED_FAILURES, PROJECT } from "./open-registry.ts";
import { BUILT_BUNDLES, bundleWorkflows } from "./orchestrator-bundle.ts";

const launcher = join(PROJECT, "src/gpu-workers/worker/process/launch-engine.cjs");
for (const engine of ["onnx", "stub"]) {
  const main = join(PROJECT, `src/gpu-workers/engines/${engine}/main.ts`);
  const folder = join(PROJECT, "dist/engine-bundles", engine);
  execFileSync(process.execPath, [launcher, "--bundle", main, folder], { stdio: "inherit" });
}
for (const [name, failureConverterPath] of [
  ["plain", undefined],
  ["encoded", ENCODED_FAILURES],
] as const) {
  const { codePath } = await bundleWorkflows({ failureConverterPath });
  copyFileSync(codePath, BUILT_BUNDLES[name]);
}
