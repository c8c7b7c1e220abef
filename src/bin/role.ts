import { realpathSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { loadConfig } from "../config/load-config.ts";
import { createLogger } from "../config/logger.ts";
import { openRegistry } from "./open-registry.ts";
import { configuredAddresses, openParts, type Parts } from "./parts.ts";

/** A started role. `stop` drains it; `ended` settles when it ended by itself, and rejects when it broke. */
export interface Role {
  stop(): Promise<void>;
  ended?: Promise<void>;
}

/** What a role says when it cannot start: one line for a person, no stack trace. */
export function refuseStart(error: unknown): never {
  process.stderr.write(`tempera: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}

/** A terminal's Ctrl-C can arrive twice, from the terminal and through npm: only a later one is a second thought. */
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

/** Runs one role as the whole process: everything it needs is configured by address. */
export async function runRole(name: string, start: (parts: Parts) => Promise<Role>): Promise<void> {
  try {
    const config = loadConfig();
    const log = createLogger(config.log, name);
    const parts = await openParts(config, await openRegistry(config), configuredAddresses(config, name), log);
    const role = await start(parts);
    const finish = async (code: number): Promise<void> => {
      await role.stop();
      await parts[Symbol.asyncDispose]();
      process.exit(code);
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
    refuseStart(error);
  }
}

/** Whether this module is the program that was started. */
export const isMain = (url: string): boolean => process.argv[1] !== undefined && url === pathToFileURL(realpathSync(process.argv[1])).href;
