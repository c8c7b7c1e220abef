import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundleWorkflowCode } from "@temporalio/worker";

/**
 * Bundles the workflow code into one file for the sandbox. Bundling takes seconds, so the result is cached in
 * `cacheFolder` under the digest of everything that it depends on.
 *
 * @param sources folders whose files the bundle may contain
 * @param shared modules that all workflows share, evaluated once; they must have no state
 * @param payloadConverterPath the module that converts payloads; the SDK's when absent. Its imports are among
 * `sources`
 * @param failureConverterPath the module that encodes failures; the SDK's when absent
 */
export async function workflowBundle({
  workflowsPath,
  sources,
  shared,
  cacheFolder,
  lockFile,
  payloadConverterPath,
  failureConverterPath,
}: {
  workflowsPath: string;
  sources: string[];
  shared: string[];
  cacheFolder: string;
  lockFile: string;
  payloadConverterPath?: string | undefined;
  failureConverterPath?: string | undefined;
}): Promise<{ codePath: string }> {
  const digest = createHash("sha256").update(readFileSync(lockFile)).update(shared.join("\n"));
  for (const path of [payloadConverterPath, failureConverterPath])
    if (path) digest.update(readFileSync(path));
  for (const folder of sources) {
    for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
      if (/(?<!\.test)\.(ts|json)$/.test(name)) digest.update(name).update(readFileSync(join(folder, name)));
    }
  }
  const codePath = join(cacheFolder, `workflows-${digest.digest("hex").slice(0, 16)}.js`);
  if (!existsSync(codePath)) {
    const { code } = await bundleWorkflowCode({
      workflowsPath,
      preloadModules: shared,
      logger: silent,
      ...(payloadConverterPath && { payloadConverterPath }),
      ...(failureConverterPath && { failureConverterPath }),
    });
    mkdirSync(cacheFolder, { recursive: true });
    const partial = `${codePath}.${process.pid}`;
    writeFileSync(partial, code);
    renameSync(partial, codePath);
  }
  return { codePath };
}

const ignore = (): void => {};
const silent = { log: ignore, trace: ignore, debug: ignore, info: ignore, warn: ignore, error: ignore };
