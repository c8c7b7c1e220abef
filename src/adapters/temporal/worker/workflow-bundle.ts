import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundleWorkflowCode } from "@temporalio/worker";

/**
 * The workflow code as one file for the sandbox. Bundling takes seconds, so the result is kept in
 * `cacheFolder` under the digest of everything that goes in.
 *
 * @param sources folders whose files the bundle may contain
 * @param shared modules of the bundle that all workflows have in common: evaluated once, not for each workflow. They keep no state
 * @param failureConverterPath the module that writes failures; the SDK's own way when absent
 */
export async function workflowBundle({
  workflowsPath,
  sources,
  shared,
  cacheFolder,
  lockFile,
  failureConverterPath,
}: {
  workflowsPath: string;
  sources: string[];
  shared: string[];
  cacheFolder: string;
  lockFile: string;
  failureConverterPath?: string | undefined;
}): Promise<{ codePath: string }> {
  const digest = createHash("sha256").update(readFileSync(lockFile)).update(shared.join("\n"));
  if (failureConverterPath) digest.update(readFileSync(failureConverterPath));
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
      ...(failureConverterPath && { failureConverterPath }),
    });
    mkdirSync(cacheFolder, { recursive: true });
    const partial = `${codePath}.${process.pid}`;
    writeFileSync(partial, code);
    renameSync(partial, codePath);
  }
  return { codePath };
}

const nothing = (): void => {};
const silent = { log: nothing, trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };
