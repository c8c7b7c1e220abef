import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { workflowBundle } from "../adapters/temporal/worker/workflow-bundle.ts";
import type { Config } from "../config/settings.ts";
import { payloadKeysOf } from "./configured/payload-keys.ts";
import { ENCODED_FAILURES, PROJECT } from "./open-registry.ts";

const WORKFLOWS = join(PROJECT, "src/workflows");
const PIPELINE_SCHEMAS = join(PROJECT, "schemas/pipelines");

/** The bundles that `npm run build` makes: without, and with a converter that encodes failures. */
export const BUILT_BUNDLES = {
  plain: join(PROJECT, "dist/workflow-bundle.js"),
  encoded: join(PROJECT, "dist/workflow-bundle-encoded.js"),
};

/**
 * Lists the modules that all workflows of a process share: the platform's own workflow code, which keeps no
 * state outside of functions, and the schemas of pipelines. Pipelines of authors, in `pipelines/`, and the
 * two modules that import them are evaluated for each workflow: a variable beside their functions is the
 * workflow's own.
 */
function sharedModules(): string[] {
  const own = readdirSync(WORKFLOWS).filter(
    (name) => /(?<!\.test)\.ts$/.test(name) && name !== "index.ts" && name !== "pipeline.ts",
  );
  const schemas = readdirSync(PIPELINE_SCHEMAS, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".json"),
  );
  return [
    ...own.sort().map((name) => join(WORKFLOWS, name)),
    ...schemas.sort().map((name) => join(PIPELINE_SCHEMAS, name)),
  ];
}

/**
 * Gives the workflow code as one file: the bundle of `dist/` if this process runs from there, else one of the
 * sources. If payloads are encrypted, failures are encrypted too.
 */
export async function orchestratorBundle(config?: Config): Promise<{ codePath: string }> {
  const encodesFailures = config !== undefined && payloadKeysOf(config).newest !== undefined;
  if (import.meta.url.endsWith(".js")) {
    return { codePath: encodesFailures ? BUILT_BUNDLES.encoded : BUILT_BUNDLES.plain };
  }
  return bundleWorkflows({ failureConverterPath: encodesFailures ? ENCODED_FAILURES : undefined });
}

/** Bundles the sources once, and keeps the bundle beside the installed packages, named by its content. */
export function bundleWorkflows({
  failureConverterPath,
}: {
  failureConverterPath: string | undefined;
}): Promise<{ codePath: string }> {
  return workflowBundle({
    workflowsPath: join(WORKFLOWS, "index.ts"),
    sources: [WORKFLOWS, join(PROJECT, "src/core"), PIPELINE_SCHEMAS],
    shared: sharedModules(),
    cacheFolder: resolve(PROJECT, "node_modules/.cache/tempera"),
    lockFile: join(PROJECT, "package-lock.json"),
    payloadConverterPath: join(PROJECT, "src/adapters/temporal/exact-payloads.ts"),
    failureConverterPath,
  });
}
