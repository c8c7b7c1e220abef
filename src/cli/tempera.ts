import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command } from "commander";
import { addAuditCommands } from "./commands/operations/audit.ts";
import { addConfigCommands, collect } from "./commands/operations/config.ts";
import { addDeadLetterCommands } from "./commands/requests/dead-letters.ts";
import { addDeliveryCommands } from "./commands/requests/deliveries.ts";
import { addEndedRequestCommands } from "./commands/requests/ended-requests.ts";
import { addEngineCommands } from "./commands/models/engines.ts";
import { addFlagCommands } from "./commands/models/flags.ts";
import { addKeyCommands } from "./commands/owners/keys.ts";
import { addModelCommands } from "./commands/models/models.ts";
import { addPipelineCommands } from "./commands/requests/pipelines.ts";
import { addPipelineRerunCommand } from "./commands/requests/pipelines-rerun.ts";
import { addPlanCommands } from "./commands/owners/plans.ts";
import { addRequestCommands } from "./commands/requests/requests.ts";
import { addRetentionCommands } from "./commands/operations/retention.ts";
import { addRolloutCommands } from "./commands/models/rollouts.ts";
import { addSigningKeyCommands } from "./commands/operations/signing-keys.ts";
import { addStorageCommands } from "./commands/owners/storage.ts";
import { addTlsCommands } from "./commands/operations/tls.ts";
import { addUsageCommands } from "./commands/owners/usage.ts";
import { addWorkerCommands } from "./commands/models/workers.ts";
import { createPlatformClient, findKey, type PlatformClient } from "./platform-client.ts";

// The platform itself is loaded only by the commands that need it: the others answer in a blink.
const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../../package.json"), "utf8")) as {
  version: string;
};

const program = new Command("tempera")
  .description(
    "Self-hosted inference that speaks the fal.ai protocol and runs every job durably on Temporal.",
  )
  .version(version)
  .option(
    "--url <url>",
    "the gateway (TEMPERA_URL)",
    process.env.TEMPERA_URL ?? `http://localhost:${process.env.TEMPERA_PORT ?? 8080}`,
  )
  .option(
    "--admin-url <url>",
    "the admin service (TEMPERA_ADMIN_URL)",
    process.env.TEMPERA_ADMIN_URL ?? `http://localhost:${process.env.TEMPERA_ADMIN_PORT ?? 8081}`,
  )
  .option("--key <key>", "your key (TEMPERA_KEY, FAL_KEY, or the one in the data folder)")
  .showHelpAfterError();

const connect = (command: Command): PlatformClient => {
  const { url, adminUrl, key } = command.optsWithGlobals<{ url: string; adminUrl: string; key?: string }>();
  return createPlatformClient({
    url: url.replace(/\/+$/, ""),
    adminUrl: adminUrl.replace(/\/+$/, ""),
    key: findKey(key),
  });
};

program
  .command("start")
  .description("run the whole platform, with embedded services for those that are not configured")
  .option("--tls", "serve over HTTPS too, with a certificate of a local authority (TEMPERA_TLS)")
  .option(
    "--set <setting=value>",
    "override one setting, such as server.port=9000; may be given several times",
    collect,
    [],
  )
  .action(async ({ tls, set }: { tls?: boolean; set: string[] }) =>
    (await import("../bin/all-in-one.ts")).runAllInOne({
      flags: [...(tls ? ["tls.enabled=true"] : []), ...set],
    }),
  );
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
program
  .command("doctor")
  .description("what is installed, reachable or missing, and the remedy")
  .option("--json", "print the findings as JSON")
  .action(async ({ json }: { json?: boolean }, command: Command) => {
    const { url } = command.optsWithGlobals<{ url: string }>();
    const { doctor } = await import("./commands/operations/doctor.ts");
    process.exitCode = await doctor({ url, json: json === true });
  });

try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`tempera: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
