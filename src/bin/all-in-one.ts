import { loadConfig } from "../config/load-config.ts";
import { createLogger, logFormat } from "../config/logger.ts";
import { createMask } from "../config/masked.ts";
import { escapeControl } from "../core/json/escape-control.ts";
import { TREES } from "../fal/index.ts";
import { type Platform, startPlatform } from "./platform.ts";
import { captureOutput, type FailedStart } from "./process-output.ts";
import { followConfig, isMain, onSignal, readFlags, refuseStart } from "./role.ts";

/**
 * Words what `npm start` prints when everything is ready. Its command lines work as they are: they read the
 * key from where it is kept. The key itself is printed once, by the start that made it, and only to a
 * terminal: what is written to a pipe ends in files that others read.
 */
export function readyText(platform: Platform, { isTerminal }: { isTerminal: boolean }): string {
  const { url, adminUrl, temporalUi, keptKey, endpoints, pipelines, tls } = platform;
  const isShown = isTerminal && keptKey?.isNew;
  const origin = keptKey ? `kept in ${keptKey.file}` : "that of TEMPERA_ADMIN_KEY";
  return [
    "",
    `  Tempera is ready.`,
    "",
    `  API          ${url}`,
    ...(tls ? [`  API, TLS     ${tls.url}`] : []),
    `  Admin API    ${adminUrl}`,
    ...(temporalUi
      ? [`  Temporal UI  ${temporalUi.url}`, `               (its password is in ${temporalUi.passwordFile})`]
      : []),
    ...(isShown ? [`  Key          ${keptKey.key}`, "               (shown only this once)"] : []),
    `  ${isShown ? "           " : "Key        "}  ${origin}`,
    `  Models       ${endpoints.join(", ")}`,
    ...(pipelines.length > 0 ? [`  Pipelines    ${pipelines.join(", ")}`] : []),
    "",
    "  Try it:",
    "",
    `  ${curlLine(url, keyWords(platform))}`,
    "",
    ...(tls ? recipes(tls, url, keyWords(platform)) : []),
    "  Ctrl-C stops it; running work is finished, or continued at the next start.",
    "",
  ].join("\n");
}

/** Words the key for a shell, within double quotes, without its value. */
const keyWords = ({ keptKey }: Platform): string =>
  keptKey ? `$(cat '${keptKey.file.replaceAll("'", "'\\''")}')` : "$TEMPERA_ADMIN_KEY";

function curlLine(url: string, key: string, caFile?: string): string {
  const authority = caFile ? `--cacert "${caFile}" ` : "";
  const headers = `-H "Authorization: Key ${key}" -H "Content-Type: application/json"`;
  const input = `{"prompt": "a large red circle on a blue background"}`;
  return `curl -s ${authority}${url}/queue/fal-ai/qwen-image ${headers} -d '${input}'`;
}

/** Lists the setup of each client (more in docs/clients.md). Each line works as it is. */
function recipes({ url, caFile }: { url: string; caFile?: string }, plainUrl: string, key: string): string[] {
  const { host, port } = new URL(url); // the port is empty if it is 443
  const trust = (variable: string): string[] => (caFile ? [`  export ${variable}="${caFile}"`] : []);
  const { queue, run, ws, rest, files } = TREES;
  const tlsPort = port === "" ? "" : ", TEMPERA_TLS_PORT=443";
  const forNode = caFile ? ", and for Node the variable" : "";
  const falHosts = [queue, run, ws, rest, files].flatMap(({ hosts }) => hosts);
  return [
    "  Python, fal-client:",
    "",
    `  export FAL_RUN_HOST=${host}`,
    `  export FAL_QUEUE_RUN_HOST=${host}/queue`,
    ...trust("SSL_CERT_FILE"),
    `  export FAL_KEY="${key}"`,
    "",
    "  JavaScript, @fal-ai/client:",
    "",
    `  fal.config({ proxyUrl: { url: "${plainUrl}/api/fal/proxy", when: "always" } });`,
    "",
    "  curl:",
    "",
    `  ${curlLine(url, key, caFile)}`,
    "",
    `  Unchanged code: this line in /etc/hosts${tlsPort}${forNode}:`,
    "",
    `  127.0.0.1 ${falHosts.join(" ")}`,
    ...trust("NODE_EXTRA_CA_CERTS"),
    "",
  ];
}

/**
 * Runs the whole platform until a signal stops it. What a person reads beside the log goes to the standard
 * output, unless the log is set to JSON: then every line of the process is JSON.
 */
export async function runAllInOne({ flags = [] }: { flags?: string[] } = {}): Promise<void> {
  let begun: FailedStart = {};
  const interrupted = new AbortController();
  try {
    const config = loadConfig(process.env, flags);
    const mask = createMask(config);
    const { format } = config.log;
    begun = { format, mask };
    const log = createLogger(config.log, "all-in-one", { mask });
    captureOutput(log);
    followConfig(config, log, flags);
    const isJson = logFormat(format) === "json";
    const say = (line: string): void =>
      isJson ? log.info({}, line) : void process.stderr.write(`  ${escapeControl(line)}\n`);
    let platform: Platform | undefined;
    onSignal((signal) => {
      say(
        `${signal}: stopping. Running work has ${config.worker.graceSeconds} s to finish; ` +
          "a second signal ends it at once.",
      );
      interrupted.abort();
      if (platform) void platform.stop().then(() => process.exit(0), refuseStart);
    });
    platform = await startPlatform(config, log, say, interrupted.signal);
    const { url, adminUrl, temporalUi, keptKey } = platform;
    const kept = keptKey && `; its key is in ${keptKey.file}`;
    if (isJson) log.info({ url, adminUrl, temporalUi: temporalUi?.url }, `all-in-one is ready${kept ?? ""}`);
    if (format !== "json")
      process.stdout.write(`${readyText(platform, { isTerminal: process.stdout.isTTY === true })}\n`);
    await platform.ended;
  } catch (error) {
    if (error === interrupted.signal.reason) process.exit(0);
    refuseStart(error, begun);
  }
}

if (isMain(import.meta.url)) await runAllInOne({ flags: readFlags({ command: "npm start --" }) });
