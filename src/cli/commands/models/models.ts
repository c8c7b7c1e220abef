import type { Command } from "commander";
import { openRegistry } from "../../../bin/open-registry.ts";
import { loadConfig } from "../../../config/load-config.ts";
import type { PlatformClient } from "../../platform-client.ts";
import { table } from "../../table.ts";
import { print } from "../listing.ts";
import { addRegistryCommands, versionsTable } from "./registry.ts";

interface ModelView {
  endpoint_id: string;
  version: string;
  digest: string;
  serving?: { runner: string; engine: string; slots: number };
  metadata: { display_name: string };
}

/** `models list|check`, and those that change what is served. */
export function addModelCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const models = program.command("models").description("what can be called");
  models
    .command("list")
    .description("list the models a running platform serves (needs a key of scope ADMIN)")
    .option("--all", "every version, whatever its state, and where it came from")
    .option("--json", "print the answer as JSON")
    .action(async ({ json, all: whole }: { json?: boolean; all?: boolean }, command: Command) => {
      if (whole && json)
        return print(
          (await connect(command).admin<{ versions: unknown[] }>("GET", "/v1/registry/versions")).versions,
        );
      if (whole) return void process.stdout.write(`${await versionsTable(connect(command))}\n`);
      const { models: all } = await connect(command).admin<{ models: ModelView[] }>("GET", "/v1/models");
      if (json) return void process.stdout.write(`${JSON.stringify(all)}\n`);
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
    .description("check the model packages in the models folder, without starting anything")
    .action(async () => {
      const registry = await openRegistry(loadConfig());
      for (const { endpoint, version, digest } of registry.list())
        process.stdout.write(`ok  ${endpoint} ${version}  ${digest.slice(0, 12)}\n`);
    });
}
