import type { Command } from "commander";
import { openRegistry } from "../../bin/open-registry.ts";
import { loadConfig } from "../../config/load-config.ts";
import type { PlatformClient } from "../platform-client.ts";
import { table } from "../table.ts";

interface ModelView {
  endpoint_id: string;
  version: string;
  digest: string;
  serving?: { runner: string; engine: string; slots: number };
  metadata: { display_name: string };
}

/** `models list|check`. */
export function addModelCommands(program: Command, connect: (command: Command) => PlatformClient): void {
  const models = program.command("models").description("what can be called");
  models
    .command("list")
    .description("list the models a running platform serves (needs a key of scope ADMIN)")
    .option("--json", "print the answer as JSON")
    .action(async ({ json }: { json?: boolean }, command: Command) => {
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
      process.stdout.write(`${table(["ENDPOINT", "VERSION", "RUNNER", "ENGINE", "SLOTS", "DIGEST", "TITLE"], rows)}\n`);
    });
  models
    .command("check")
    .description("check the model packages in the models folder, without starting anything")
    .action(async () => {
      const registry = await openRegistry(loadConfig());
      for (const { endpoint, version, digest } of registry.list())
        process.stdout.write(`ok  ${endpoint} ${version}  ${digest.slice(0, 12)}\n`);
    });
}
