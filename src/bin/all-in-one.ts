import { keyFile } from "../config/key-file.ts";
import { loadConfig } from "../config/load-config.ts";
import { createLogger } from "../config/logger.ts";
import type { Config } from "../config/settings.ts";
import { type Platform, startPlatform } from "./platform.ts";
import { isMain, onSignal, refuseStart } from "./role.ts";

/** What `npm start` says when everything is ready. The curl line works as it is pasted. */
export const readyText = ({ url, adminUrl, temporalUi, key, endpoints }: Platform, config: Config): string =>
  [
    "",
    `  Tempera is ready.`,
    "",
    `  API          ${url}`,
    `  Admin API    ${adminUrl}`,
    ...(temporalUi ? [`  Temporal UI  ${temporalUi}`] : []),
    `  Key          ${key}`,
    ...(config.keys.admin ? [] : [`               (kept in ${keyFile(config.folders.data)})`]),
    `  Models       ${endpoints.join(", ")}`,
    "",
    "  Try it:",
    "",
    `  curl -s ${url}/queue/fal-ai/qwen-image -H "Authorization: Key ${key}" -H "Content-Type: application/json" -d '{"prompt": "a large red circle on a blue background"}'`,
    "",
    "  Ctrl-C stops it; what is running is finished or goes on at the next start.",
    "",
  ].join("\n");

/** Runs the whole platform until a signal. */
export async function runAllInOne(): Promise<void> {
  try {
    const config = loadConfig();
    const log = createLogger(config.log, "tempera");
    let platform: Platform | undefined;
    let interrupted = false;
    onSignal((signal) => {
      interrupted = true;
      process.stderr.write(`\n  ${signal}: stopping. Running work has ${config.worker.graceSeconds} s; a second signal ends it at once.\n`);
      if (platform) void platform.stop().then(() => process.exit(0), refuseStart);
    });
    const starting = startPlatform(config, log, (line) => process.stderr.write(`  ${line}\n`));
    platform = await starting;
    if (interrupted) {
      await platform.stop();
      process.exit(0);
    }
    process.stdout.write(`${readyText(platform, config)}\n`);
    await platform.ended;
  } catch (error) {
    refuseStart(error);
  }
}

if (isMain(import.meta.url)) await runAllInOne();
