import { join, resolve } from "node:path";
import { createRecordOutcome } from "../activities/record-outcome.ts";
import { startOrchestratorWorker } from "../adapters/temporal/workers.ts";
import { workflowBundle } from "../adapters/temporal/workflow-bundle.ts";
import { systemClock } from "../core/ports/clock.ts";
import { PROJECT } from "./open-registry.ts";
import type { Parts } from "./parts.ts";
import { isMain, type Role, runRole } from "./role.ts";

/** Advances the workflows and runs their light activities. */
export async function startOrchestrator(parts: Parts, bundling = orchestratorBundle()): Promise<Role> {
  const bundle = await bundling;
  const worker = await startOrchestratorWorker(
    { connection: await parts.workerConnection(), namespace: parts.config.temporal.namespace, identity: parts.identity },
    { workflowBundle: bundle, activities: { recordOutcome: createRecordOutcome({ ...parts, clock: systemClock }) } },
  );
  return worker;
}

/** The workflow code, bundled once and kept beside the installed packages. */
export const orchestratorBundle = (): Promise<{ codePath: string }> =>
  workflowBundle({
    workflowsPath: join(PROJECT, "src/workflows/index.ts"),
    sources: [join(PROJECT, "src/workflows"), join(PROJECT, "src/core")],
    cacheFolder: resolve(PROJECT, "node_modules/.cache/tempera"),
    lockFile: join(PROJECT, "package-lock.json"),
  });

if (isMain(import.meta.url)) await runRole("orchestrator", (parts) => startOrchestrator(parts));
