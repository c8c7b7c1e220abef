import { resolve } from "node:path";
import { openRegistry, PROJECT } from "../../../bin/open-registry.ts";
import { loadConfig } from "../../../config/load-config.ts";
import { engineRunners } from "../../../gpu-workers/worker/process/engine-programs.ts";
import { reviewModel } from "../../../registry/packages/review-model.ts";
import { RegistryFaults } from "../../../registry/registry.ts";

/**
 * Checks the packages in the models folder, the test models too, and returns a line for each. Throws
 * `RegistryFaults`, which names every fault of every package.
 */
export async function checkModels(): Promise<string> {
  const config = loadConfig();
  const registry = await openRegistry({ ...config, registry: { ...config.registry, testModels: true } });
  const models = registry.list();
  const runners = engineRunners(config.engines.programs);
  const faulty = models
    .map((model) => ({ folder: model.folder, faults: reviewModel(model, runners) }))
    .filter(({ faults }) => faults.length > 0);
  if (faulty.length > 0) throw new RegistryFaults(faulty, resolve(PROJECT, config.folders.models));
  return models
    .map(({ endpoint, version, digest }) => `ok  ${endpoint} ${version}  ${digest.slice(0, 12)}\n`)
    .join("");
}
