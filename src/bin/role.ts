import { realpathSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { loadConfig } from "../config/load-config.ts";
import { createLogger, type Logger } from "../config/logger.ts";
import { createMask } from "../config/masked.ts";
import type { Config } from "../config/settings.ts";
import { watchConfig } from "../config/watch-config.ts";
import { configuredAddresses } from "./addresses.ts";
import { openRegistry } from "./open-registry.ts";
import { openParts, type Parts } from "./parts.ts";

/** A started role. `stop` drains it; `ended` resolves when it ended by itself, and rejects when it failed. */
export interface Role {
  stop(): Promise<void>;
  ended?: Promise<void>;
}

/** Prints why a role cannot start, as one line without stack trace or secrets, and exits with 1. */
export function refuseStart(error: unknown, mask: (text: string) => string = (text) => text): never {
  process.stderr.write(`tempera: ${mask(error instanceof Error ? error.message : String(error))}\n`);
  process.exit(1);
}

/**
 * Time within which a second signal counts as the first: Ctrl-C can arrive twice, from the terminal and
 * through npm.
 */
const SAME_SIGNAL_MS = 300;

/**
 * Calls `stop` on the first SIGINT, SIGTERM or SIGHUP; a second SIGINT or SIGTERM ends the process at once.
 * SIGHUP is never the second: it says that the terminal or npm has ended (`scripts/run.mjs`), often because
 * of the first signal.
 */
export function onSignal(stop: (signal: string) => void): void {
  let firstAtMs: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      if (firstAtMs === undefined) {
        firstAtMs = performance.now();
        stop(signal);
      } else if (signal !== "SIGHUP" && performance.now() - firstAtMs > SAME_SIGNAL_MS) process.exit(130);
    });
  }
  // Nobody may read the output any more. That must not interrupt the draining.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
}

const HELP = `
  --set <group>.<name>=<value>  overrides a setting, such as server.port=9000; may be repeated
  --tls                         serves HTTPS too, as --set tls.enabled=true
  -h, --help                    prints this help

Settings are described in docs/configuration.md; \`npx tempera config show\` prints those in effect.
`;

/**
 * Reads the settings on the command line: `--set <group>.<name>=<value>`, and `--tls` for
 * `--set tls.enabled=true`. `--help` prints the flags and ends the process.
 *
 * @param command what a person types before the flags
 */
export function readFlags({ command }: { command: string }): string[] {
  try {
    const { help, set, tls } = parseArgs({
      options: {
        help: { type: "boolean", short: "h" },
        set: { type: "string", multiple: true, default: [] },
        tls: { type: "boolean" },
      },
    }).values;
    if (help) {
      process.stdout.write(`usage: ${command} [flags]\n${HELP}`);
      process.exit(0);
    }
    return [...(tls ? ["tls.enabled=true"] : []), ...set];
  } catch (error) {
    return refuseStart(error);
  }
}

/** Applies changes of configuration files to live settings, for the life of the process. */
export function followConfig(config: Config, log: Logger, flags: readonly string[]): void {
  return void watchConfig({
    config,
    flags,
    log,
    onChange: () => {
      log.level = config.log.level;
    },
  });
}

/** Runs one role as the whole process: every service that it needs is configured by address. */
export async function runRole(name: string, start: (parts: Parts) => Promise<Role>): Promise<void> {
  let mask: ((text: string) => string) | undefined;
  try {
    const flags = readFlags({ command: name });
    const config = loadConfig(process.env, flags);
    mask = createMask(config);
    const log = createLogger(config.log, name, { mask });
    followConfig(config, log, flags);
    const parts = await openParts(
      config,
      await openRegistry(config, log),
      configuredAddresses(config, name),
      log,
    );
    const role = await start(parts);
    const finish = async (code: number): Promise<void> => {
      try {
        await role.stop();
        await parts[Symbol.asyncDispose]();
      } catch (error) {
        // A failed role may still hold resources; the process ends all the same.
        log.warn({ err: error }, `the ${name} did not release all resources`);
      } finally {
        process.exit(code);
      }
    };
    onSignal((signal) => {
      log.info({ signal }, "draining");
      void finish(0);
    });
    role.ended?.catch((error) => {
      log.error({ err: error }, `the ${name} failed`);
      void finish(1);
    });
    log.info({}, `${name} is ready`);
  } catch (error) {
    refuseStart(error, mask);
  }
}

/** Tells whether this module is the program that was started. */
export function isMain(url: string): boolean {
  return process.argv[1] !== undefined && url === pathToFileURL(realpathSync(process.argv[1])).href;
}
