import { realpathSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { openHealthPort } from "../api/health/health-port.ts";
import { loadConfig } from "../config/load-config.ts";
import { createLogger, type Logger } from "../config/logger.ts";
import { createMask } from "../config/masked.ts";
import type { Config } from "../config/settings.ts";
import { watchConfig } from "../config/watch-config.ts";
import { LazyConnection } from "../core/concurrency/lazy-connection.ts";
import type { ObjectStore } from "../core/files/object-store.ts";
import { type CloseStack, createCloseStack } from "../core/operations/close-stack.ts";
import type { Log } from "../core/operations/log.ts";
import type { RoleHealth, RoleName } from "../core/operations/process-health.ts";
import { configuredAddresses } from "./addresses.ts";
import { openRegistry } from "./open-registry.ts";
import { composeParts, createProcessHealth, type Parts } from "./parts.ts";
import { captureOutput, type FailedStart, refusalText } from "./process-output.ts";
import { reasonOf, ServiceJoins } from "./service-joins.ts";
import { openServices } from "./services.ts";

/** A started role. `stop` drains it; `ended` resolves when it ended by itself, and rejects when it failed. */
export interface Role {
  stop(): Promise<void>;
  ended?: Promise<void>;
}

/**
 * Starts a role, again for as long as a service that it asks meanwhile is away or does not answer in time
 * (docs/decisions/0030). A failed try must leave nothing open.
 *
 * @param closing ends the tries when it is disposed of; what a try has started by then is stopped
 */
export function startRole<R extends Role>(
  name: RoleName,
  start: () => Promise<R>,
  { log, closing }: { log: Pick<Log, "warn">; closing: CloseStack },
): Promise<R> {
  const starting = new LazyConnection({
    open: start,
    close: (role) => role.stop(),
    onFailure: (error) => log.warn({}, `${name} could not start yet: ${reasonOf(error)}`),
  });
  closing.defer(() => starting[Symbol.dispose]());
  return starting.ready;
}

/** Prints why a role cannot start, in the format of the log, and exits with 1. */
export function refuseStart(error: unknown, start: FailedStart = {}): never {
  process.stderr.write(refusalText(error, start));
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
  --with-test-models            serves the test models too, as --set registry.testModels=true
  -h, --help                    prints this help

Settings are described in docs/configuration.md; \`npx tempera config show\` prints those in effect.
`;

/** Returns the settings of the flags of a start, in the form of `--set`. */
export const settingsOf = (flags: { tls?: boolean; withTestModels?: boolean; set: string[] }): string[] => [
  ...(flags.tls ? ["tls.enabled=true"] : []),
  ...(flags.withTestModels ? ["registry.testModels=true"] : []),
  ...flags.set,
];

/**
 * Reads the settings on the command line: `--set <group>.<name>=<value>`, and the flags that stand for one.
 * `--help` prints the flags and ends the process.
 *
 * @param command what a person types before the flags
 */
export function readFlags({ command }: { command: string }): string[] {
  try {
    const { help, ...flags } = parseArgs({
      options: {
        help: { type: "boolean", short: "h" },
        set: { type: "string", multiple: true, default: [] },
        tls: { type: "boolean" },
        "with-test-models": { type: "boolean" },
      },
    }).values;
    if (help) {
      process.stdout.write(`usage: ${command} [flags]\n${HELP}`);
      process.exit(0);
    }
    return settingsOf({ ...flags, withTestModels: flags["with-test-models"] === true });
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

/** The listeners of a role that is open to callers before it can start. */
export interface Listeners {
  stop(): Promise<void>;
}

/** All that a role has before PostgreSQL was reached. */
export interface Waiting {
  config: Config;
  log: Logger;
  objects: ObjectStore;
  health: RoleHealth;
}

/** A role as a program. */
export interface RoleProgram<L extends Listeners> {
  name: RoleName;
  /** @param listeners those of `listen`, if the role had to wait */
  start(parts: Parts, listeners: L | undefined): Promise<Role>;
  /** Opens listeners that serve what can be served without PostgreSQL. */
  listen?(waiting: Waiting): Promise<L>;
}

/**
 * Runs one role as the whole process: every service that it needs is configured by address. The role starts
 * without those that cannot be used, and joins them when they can (docs/decisions/0030).
 */
export async function runRole<L extends Listeners>(program: RoleProgram<L>): Promise<void> {
  let begun: FailedStart = { role: program.name };
  const stopping = new AbortController();
  try {
    const flags = readFlags({ command: program.name });
    const config = loadConfig(process.env, flags);
    const mask = createMask(config);
    begun = { ...begun, format: config.log.format, mask };
    const log = createLogger(config.log, program.name, { mask });
    captureOutput(log);
    followConfig(config, log, flags);
    await new RunningRole(program, { config, log, stopping }).run();
  } catch (error) {
    if (!stopping.signal.aborted) refuseStart(error, begun);
  }
}

/** One role from its start to the end of its process. */
class RunningRole<L extends Listeners> {
  readonly #program: RoleProgram<L>;
  readonly #config: Config;
  readonly #log: Logger;
  readonly #stopping: AbortController;
  readonly #closing = createCloseStack();
  #listeners: L | undefined;
  #role: Role | undefined;

  constructor(
    program: RoleProgram<L>,
    { config, log, stopping }: { config: Config; log: Logger; stopping: AbortController },
  ) {
    this.#program = program;
    this.#config = config;
    this.#log = log;
    this.#stopping = stopping;
  }

  /** Resolves when the role has started and all services are joined. */
  async run(): Promise<void> {
    const { name, listen } = this.#program;
    const [config, log, closing] = [this.#config, this.#log, this.#closing];
    const addresses = configuredAddresses(config, name);
    const packages = await openRegistry(config, log);
    const health = createProcessHealth();
    const joins = new ServiceJoins({ name, health: health.services, log });
    closing.defer(() => joins[Symbol.dispose]());
    const { host, healthPort: port } = config.server;
    await openHealthPort({ role: name, health: health.role(name), host, port, log });
    onSignal((signal) => {
      log.info({ signal }, "draining");
      health.noteStop();
      void this.#finish(0);
    });
    const services = await openServices({ config, packages, addresses, joins, log, closing });
    await joins.firstTries();
    const { database, objects } = services;
    if (!database.isOpen)
      this.#listeners = await listen?.({ config, log, objects, health: health.role(name) });
    let isLogged = false;
    const logWaits = (): void => {
      if (!isLogged && joins.awaited !== "") log.info({}, `${name} is up, and waits for ${joins.awaited}`);
      isLogged ||= joins.awaited !== "";
    };
    // A role that has no listeners waits within its start.
    if (this.#listeners || !listen) logWaits();
    await this.#start(
      composeParts(services, await database.ready, { config, log, processHealth: health, closing }),
    );
    logWaits();
    await joins.all();
    log.info({}, `${name} is ready`);
  }

  async #start(parts: Parts): Promise<void> {
    const { name, start } = this.#program;
    const run = { log: this.#log, closing: this.#closing };
    this.#role = await startRole(name, () => start(parts, this.#listeners), run);
    this.#role.ended?.catch((error) => {
      this.#log.error({ err: error }, `the ${name} failed`);
      void this.#finish(1);
    });
  }

  /** Stops what has started, and ends the process. */
  async #finish(code: number): Promise<void> {
    this.#stopping.abort();
    try {
      await (this.#role ?? this.#listeners)?.stop();
      await this.#closing[Symbol.asyncDispose]();
    } catch (error) {
      // A failed role may still hold resources; the process ends all the same.
      this.#log.warn({ err: error }, `the ${this.#program.name} did not release all resources`);
    } finally {
      process.exit(code);
    }
  }
}

/** Tells whether this module is the program that was started. */
export function isMain(url: string): boolean {
  return process.argv[1] !== undefined && url === pathToFileURL(realpathSync(process.argv[1])).href;
}
