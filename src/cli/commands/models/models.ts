/**
 * Commands about models: list, publish, roll out and switch them (`models.ts`, `registry.ts`, `rollouts.ts`,
 * `flags.ts`), and the GPU workers with their engines.
 */
import { resolve } from "node:path";
import type { Command } from "commander";
import type { ModelView } from "../../../api/admin/routes/models/models.ts";
import type { VersionView } from "../../../api/admin/routes/models/registry.ts";
import { openRegistry, PROJECT } from "../../../bin/open-registry.ts";
import { loadConfig } from "../../../config/load-config.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { ENGINE_RUNNERS } from "../../../gpu-workers/worker/process/engine-programs.ts";
import { reviewModel } from "../../../registry/packages/review-model.ts";
import { RegistryFaults } from "../../../registry/registry.ts";
import { table } from "../../table.ts";
import { print } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";
import { addRegistryCommands, versionsTable } from "./registry.ts";

/** Adds `models list|check` and the commands of `registry.ts`. */
export function addModelCommands(program: Command, connect: Connect): void {
  const models = program.command("models").description("list, check and publish models");
  models
    .command("list")
    .description("list the models that a running platform serves (needs a key of scope ADMIN)")
    .option("--all", "every version in any state, with its source")
    .option(...JSON_OPTION)
    .action(async ({ json, all: everyVersion }: { json?: boolean; all?: boolean }, command: Command) => {
      const client = connect(command);
      if (everyVersion && json)
        return print(
          (await client.admin<{ versions: VersionView[] }>("GET", "/v1/registry/versions")).versions,
        );
      if (everyVersion) return void process.stdout.write(`${await versionsTable(client)}\n`);
      const { models: all } = await client.admin<{ models: ModelView[] }>("GET", "/v1/models");
      if (json) return void process.stdout.write(`${writeJson(all)}\n`);
      const rows = all.map((model) => [
        model.endpoint_id,
        model.version,
        model.serving?.runner ?? "",
        model.serving?.engine ?? "",
        String(model.serving?.slots ?? ""),
        model.digest.slice(0, 12),
        model.metadata.display_name,
      ]);
      process.stdout.write(
        `${table(["ENDPOINT", "VERSION", "RUNNER", "ENGINE", "SLOTS", "DIGEST", "TITLE"], rows)}\n`,
      );
    });
  addRegistryCommands(models, connect);
  models
    .command("check")
    .description("check the packages in the models folder without starting the platform")
    .action(async () => {
      const config = loadConfig();
      const registry = await openRegistry({ ...config, registry: { testModels: true } });
      const faulty = registry
        .list()
        .map((model) => ({ folder: model.folder, faults: reviewModel(model, ENGINE_RUNNERS) }))
        .filter(({ faults }) => faults.length > 0);
      if (faulty.length > 0) throw new RegistryFaults(faulty, resolve(PROJECT, config.folders.models));
      for (const { endpoint, version, digest } of registry.list())
        process.stdout.write(`ok  ${endpoint} ${version}  ${digest.slice(0, 12)}\n`);
    });
}
