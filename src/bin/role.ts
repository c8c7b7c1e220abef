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

/** A started role. `stop` drains it; `ended` settles when it ended by itself, and rejects when it broke. */
export interface Role {
  stop(): Promise<void>;
  ended?: Promise<void>;
}

/** What a role says when it cannot start: one line for a person, no stack trace, no secret. */
export function refuseStart(error: unknown, mask: (text: string) => string = (text) => text): never {
  process.stderr.write(`tempera: ${mask(error instanceof Error ? error.message : String(error))}\n`);
  process.exit(1);
}

/**
 * A terminal's Ctrl-C can arrive twice, from the terminal and through npm: only a later one is a second
 * thought.
 */
const SECOND_THOUGHT_MS = 300;

/** Calls `stop` on the first SIGINT or SIGTERM; a second one ends the process at once. */
export function onSignal(stop: (signal: string) => void): void {
  let firstAtMs: number | undefined;
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (firstAtMs === undefined) {
        firstAtMs = performance.now();
        stop(signal);
      } else if (performance.now() - firstAtMs > SECOND_THOUGHT_MS) process.exit(130);
    });
  }
}

/**
 * The settings on the command line: `--set <group>.<name>=<value>`, and `--tls` for `--set tls.enabled=true`.
 */
export function readFlags(): string[] {
  try {
    const { set = [], tls } = parseArgs({
      options: { set: { type: "string", multiple: true }, tls: { type: "boolean" } },
    }).values;
    return [...(tls ? ["tls.enabled=true"] : []), ...set];
  } catch (error) {
    return refuseStart(error);
  }
}

/** Lets a changed configuration file take effect where that is safe, for the life of the process. */
export const followConfig = (config: Config, log: Logger, flags: readonly string[]): void =>
  void watchConfig({
    config,
    flags,
    log,
    onChange: () => {
      log.level = config.log.level;
    },
  });

/** Runs one role as the whole process: everything it needs is configured by address. */
export async function runRole(name: string, start: (parts: Parts) => Promise<Role>): Promise<void> {
  let mask: ((text: string) => string) | undefined;
  try {
    const flags = readFlags();
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
        // What broke may still hold on to something: the process ends all the same.
        log.warn({ err: error }, `the ${name} did not close everything`);
      } finally {
        process.exit(code);
      }
    };
    onSignal((signal) => {
      log.info({ signal }, "draining");
      void finish(0);
    });
    role.ended?.catch((error) => {
      log.error({ err: error }, `the ${name} broke`);
      void finish(1);
    });
    log.info({}, `${name} is ready`);
  } catch (error) {
    refuseStart(error, mask);
  }
}

/** Whether this module is the program that was started. */
export const isMain = (url: string): boolean =>
  process.argv[1] !== undefined && url === pathToFileURL(realpathSync(process.argv[1])).href;
