import { keyFile } from "../config/key-file.ts";
import { loadConfig } from "../config/load-config.ts";
import { createLogger } from "../config/logger.ts";
import { createMask } from "../config/masked.ts";
import type { Config } from "../config/settings.ts";
import { TREES } from "../fal/index.ts";
import { type Platform, startPlatform } from "./platform.ts";
import { followConfig, isMain, onSignal, readFlags, refuseStart } from "./role.ts";

/** What `npm start` says when everything is ready. The curl line works as it is pasted. */
export const readyText = (
  { url, adminUrl, temporalUi, key, endpoints, tls }: Platform,
  config: Config,
): string =>
  [
    "",
    `  Tempera is ready.`,
    "",
    `  API          ${url}`,
    ...(tls ? [`  API, TLS     ${tls.url}`] : []),
    `  Admin API    ${adminUrl}`,
    ...(temporalUi ? [`  Temporal UI  ${temporalUi}`] : []),
    `  Key          ${key}`,
    ...(config.keys.admin ? [] : [`               (kept in ${keyFile(config.folders.data)})`]),
    `  Models       ${endpoints.join(", ")}`,
    "",
    "  Try it:",
    "",
    `  ${curlLine(url, key)}`,
    "",
    ...(tls ? recipes(tls, url, key) : []),
    "  Ctrl-C stops it; what is running is finished or goes on at the next start.",
    "",
  ].join("\n");

const curlLine = (url: string, key: string, caFile?: string): string =>
  `curl -s ${caFile ? `--cacert "${caFile}" ` : ""}${url}/queue/fal-ai/qwen-image -H "Authorization: Key ${key}" -H "Content-Type: application/json" -d '{"prompt": "a large red circle on a blue background"}'`;

/** How each client is pointed here; docs/clients.md has the whole of it. Each line works as it is pasted. */
function recipes({ url, caFile }: { url: string; caFile?: string }, plainUrl: string, key: string): string[] {
  const { host, port } = new URL(url); // the port is empty when it is 443
  const trust = (variable: string): string[] => (caFile ? [`  export ${variable}="${caFile}"`] : []);
  const { queue, run, ws, rest, files } = TREES;
  const falHosts = [queue, run, ws, rest, files].flatMap(({ hosts }) => hosts);
  return [
    "  Python, fal-client:",
    "",
    `  export FAL_RUN_HOST=${host}`,
    `  export FAL_QUEUE_RUN_HOST=${host}/queue`,
    ...trust("SSL_CERT_FILE"),
    `  export FAL_KEY=${key}`,
    "",
    "  JavaScript, @fal-ai/client:",
    "",
    `  fal.config({ proxyUrl: { url: "${plainUrl}/api/fal/proxy", when: "always" } });`,
    "",
    "  curl:",
    "",
    `  ${curlLine(url, key, caFile)}`,
    "",
    `  Code that is not changed at all: this line in /etc/hosts${port === "" ? "" : ", TEMPERA_TLS_PORT=443"}${caFile ? ", and for Node the variable" : ""}:`,
    "",
    `  127.0.0.1 ${falHosts.join(" ")}`,
    ...trust("NODE_EXTRA_CA_CERTS"),
    "",
  ];
}

/** Runs the whole platform until a signal. */
export async function runAllInOne({ flags = [] }: { flags?: string[] } = {}): Promise<void> {
  let mask: ((text: string) => string) | undefined;
  try {
    const config = loadConfig(process.env, flags);
    mask = createMask(config);
    const log = createLogger(config.log, "tempera", { mask });
    followConfig(config, log, flags);
    let platform: Platform | undefined;
    let interrupted = false;
    onSignal((signal) => {
      interrupted = true;
      process.stderr.write(
        `\n  ${signal}: stopping. Running work has ${config.worker.graceSeconds} s; a second signal ends it at once.\n`,
      );
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
    refuseStart(error, mask);
  }
}

if (isMain(import.meta.url)) await runAllInOne({ flags: readFlags() });
