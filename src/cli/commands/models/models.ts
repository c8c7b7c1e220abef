/**
 * Commands about models: list, publish, roll out and switch them (`models.ts`, `registry.ts`, `rollouts.ts`,
 * `flags.ts`), and the GPU workers with their engines.
 */
import type { Command } from "commander";
import type { ModelView } from "../../../api/admin/routes/models/models.ts";
import type { VersionView } from "../../../api/admin/routes/models/registry.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { table } from "../../table.ts";
import { print } from "../listing.ts";
import { type Connect, JSON_OPTION } from "../options.ts";
import { addImportCommand } from "./import-fal.ts";
import { addRegistryCommands, versionsTable } from "./registry.ts";
import { addSigningCommands } from "./signing.ts";

/** Adds `models list|check`, and the commands of `registry.ts`, `signing.ts` and `import-fal.ts`. */
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
  addSigningCommands(models);
  addImportCommand(models);
  models
    .command("check")
    .description("check the packages in the models folder without starting the platform")
    .action(async () => {
      const { checkModels } = await import("./check-models.ts");
      process.stdout.write(await checkModels());
    });
}
