import { resolve } from "node:path";
import type { Command } from "commander";
import { loadConfig } from "../../../config/load-config.ts";
import type { ImportOptions } from "../../import-fal.ts";

/** Adds `models import-fal`, which needs no platform. */
export function addImportCommand(models: Command): void {
  models
    .command("import-fal")
    .description("write the schemas and the manifest of one of fal's endpoints into the models folder")
    .argument("<endpoint>", "such as fal-ai/wan/v2.2-5b/text-to-video; @2.0.0 behind it is the version")
    .argument("[openapi.json]", "fal's OpenAPI document of the endpoint; by default the schemas that ship")
    .option("--engine <name>", "the engine that serves it, with --runner")
    .option("--runner <name>", "the engine's kind of inference")
    .option("--memory-mib <n>", "device memory that the model needs")
    .option("--openapi-url <url>", "fetch the document from this address, with ?endpoint_id=<endpoint>")
    .action(async (endpoint: string, document: string | undefined, options: ImportOptions) => {
      const { importFal } = await import("../../import-fal.ts");
      const { PROJECT } = await import("../../../bin/open-registry.ts");
      const { engineRunners } = await import("../../../gpu-workers/worker/process/engine-programs.ts");
      const { folders, engines } = loadConfig();
      const { out, hints } = await importFal(
        endpoint,
        { ...options, document },
        {
          models: resolve(PROJECT, folders.models),
          schemas: resolve(PROJECT, folders.schemas),
          engines: engineRunners(engines.programs),
        },
      );
      process.stdout.write(out.map((line) => `${line}\n`).join(""));
      process.stderr.write(hints.map((line) => `${line}\n`).join(""));
    });
}
