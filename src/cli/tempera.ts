/**
 * The `tempera` command. The folders of `commands/` group its subcommands by what they are about:
 *
 * - `requests`: submit and follow requests, search logs, saved workflows, webhooks, dead letters
 * - `models`: publish, roll out and switch models; GPU workers and the engines on them
 * - `owners`: keys, plans and limits, usage, access to files
 * - `operations`: the installation itself: configuration, TLS, retention, audit log, diagnosis
 *
 * Each file adds the subcommands of one resource of the admin API, or of the queue API.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import type { EngineView } from "../api/admin/routes/engines/engines.ts";
import { escapeControl } from "../core/json/escape-control.ts";
import { parseJson } from "../core/json/exact-json.ts";
import { addEngineCommands } from "./commands/models/engines.ts";
import { addFlagCommands } from "./commands/models/flags.ts";
import { addModelCommands } from "./commands/models/models.ts";
import { addRolloutCommands } from "./commands/models/rollouts.ts";
import { addWorkerCommands } from "./commands/models/workers.ts";
import { addAuditCommands } from "./commands/operations/audit.ts";
import { addConfigCommands } from "./commands/operations/config.ts";
import { addInitCommands } from "./commands/operations/init.ts";
import { addRetentionCommands } from "./commands/operations/retention.ts";
import { addSigningKeyCommands } from "./commands/operations/signing-keys.ts";
import { addTlsCommands } from "./commands/operations/tls.ts";
import { collect, connect } from "./commands/options.ts";
import { addKeyCommands } from "./commands/owners/keys.ts";
import { addPlanCommands } from "./commands/owners/plans.ts";
import { addStorageCommands } from "./commands/owners/storage.ts";
import { addUsageCommands } from "./commands/owners/usage.ts";
import { addDeadLetterCommands } from "./commands/requests/dead-letters.ts";
import { addDeliveryCommands } from "./commands/requests/deliveries.ts";
import { addEndedRequestCommands } from "./commands/requests/ended-requests.ts";
import { addPipelineCommands } from "./commands/requests/pipelines.ts";
import { addPipelineRerunCommand } from "./commands/requests/pipelines-rerun.ts";
import { addRequestCommands } from "./commands/requests/requests.ts";

// Only the commands that need the platform's code import it, so that all others start quickly.
const { version } = parseJson(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as {
  version: string;
};

const program = new Command("tempera")
  .description(
    "Self-hosted inference that speaks the fal.ai protocol and runs every job durably on Temporal.",
  )
  .version(version)
  .option(
    "--url <url>",
    "URL of the gateway (TEMPERA_URL)",
    process.env.TEMPERA_URL ?? `http://localhost:${process.env.TEMPERA_PORT ?? 8080}`,
  )
  .option(
    "--admin-url <url>",
    "URL of the admin service (TEMPERA_ADMIN_URL)",
    process.env.TEMPERA_ADMIN_URL ?? `http://localhost:${process.env.TEMPERA_ADMIN_PORT ?? 8081}`,
  )
  .option("--key <key>", "your key (TEMPERA_KEY, FAL_KEY, or the key in the data folder)")
  .showHelpAfterError();

program
  .command("start")
  .description("run the whole platform; services that are not configured run embedded")
  .option("--tls", "serve HTTPS too, with a certificate of a local authority (TEMPERA_TLS)")
  .option("--with-test-models", "serve the test models too (TEMPERA_TEST_MODELS)")
  .option(
    "--set <setting=value>",
    "override a setting, such as server.port=9000; may be repeated",
    collect,
    [],
  )
  .action(async (flags: { tls?: boolean; withTestModels?: boolean; set: string[] }) => {
    const { settingsOf } = await import("../bin/role.ts");
    return (await import("../bin/all-in-one.ts")).runAllInOne({ flags: settingsOf(flags) });
  });
addRequestCommands(program, connect);
addEndedRequestCommands(program, connect);
addKeyCommands(program, connect);
addPlanCommands(program, connect);
addModelCommands(program, connect);
addPipelineCommands(program, connect);
addRolloutCommands(program, connect);
addFlagCommands(program, connect);
addEngineCommands(program, connect);
addWorkerCommands(program, connect);
addStorageCommands(program, connect);
addDeliveryCommands(program, connect);
addDeadLetterCommands(program, connect);
addSigningKeyCommands(program, connect);
addPipelineRerunCommand(program, connect);
addUsageCommands(program, connect);
addRetentionCommands(program, connect);
addAuditCommands(program, connect);
addTlsCommands(program);
addConfigCommands(program);
addInitCommands(program);
program
  .command("doctor")
  .description("check everything that the platform needs, and show how to fix what is missing")
  .option("--json", "print the findings as JSON")
  .action(async ({ json }: { json?: boolean }, command: Command) => {
    const { url } = command.optsWithGlobals<{ url: string }>();
    const { doctor } = await import("./commands/operations/doctor.ts");
    const engines = async () =>
      (await connect(command).admin<{ engines: EngineView[] }>("GET", "/v1/engines")).engines;
    process.exitCode = await doctor({ url, engines, json: json === true });
  });

try {
  await program.parseAsync();
} catch (error) {
  const lines = (error instanceof Error ? error.message : String(error)).split("\n");
  process.stderr.write(`tempera: ${lines.map(escapeControl).join("\n")}\n`);
  process.exitCode = 1;
}
