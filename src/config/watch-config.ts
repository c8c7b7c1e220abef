import type { Log } from "../core/operations/log.ts";
import { findConfigFiles } from "./config-files.ts";
import { allSettings, readConfig } from "./load-config.ts";
import type { Config } from "./settings.ts";

/**
 * How often the files are looked at: a changed one is in effect within this time. Reading a few small files
 * is nothing.
 */
const LOOK_EVERY_MS = 2_000;

export interface ConfigWatch {
  /** Looks now. */
  look(): void;
  stop(): void;
}

/**
 * Looks at the configuration files for as long as the process runs. A change of a setting that is marked live
 * is written into `config`, whose readers see it; of the others it is said that they need a restart. A faulty
 * file changes nothing.
 *
 * @param onChange told when something in `config` changed
 */
export function watchConfig({
  config,
  env = process.env,
  flags = [],
  log,
  onChange,
}: {
  config: Config;
  env?: Record<string, string | undefined>;
  flags?: readonly string[];
  log: Log;
  onChange: () => void;
}): ConfigWatch {
  const running = config as unknown as Record<string, Record<string, unknown>>;
  const textNow = (): string => JSON.stringify([...findConfigFiles(env)]);
  let seen = textNow();
  /** What the process was told to be, which those that wait for a restart are not. */
  let told = snapshot(readOr(config, env, flags));

  const look = (): void => {
    const text = textNow();
    if (text === seen) return;
    seen = text;
    let next: Config;
    try {
      next = readConfig(env, flags).config;
    } catch (error) {
      log.error({ err: error }, "a configuration file changed and is faulty; what was in effect stays");
      return;
    }
    const live: string[] = [];
    const waiting: string[] = [];
    const values = next as unknown as Record<string, Record<string, unknown>>;
    const now = snapshot(next);
    for (const { group, name, path, setting } of allSettings()) {
      if (now.get(path) === told.get(path)) continue;
      if (setting.live && running[group]) {
        running[group][name] = values[group]?.[name];
        live.push(path);
      } else waiting.push(path);
    }
    told = now;
    if (live.length > 0) {
      onChange();
      log.info({ settings: live.join(", ") }, "the configuration changed and is in effect");
    }
    if (waiting.length > 0)
      log.warn({ settings: waiting.join(", ") }, "the configuration changed; this needs a restart");
  };
  const timer = setInterval(look, LOOK_EVERY_MS).unref();
  return { look, stop: () => clearInterval(timer) };
}

const snapshot = (config: Config): Map<string, string> => {
  const values = config as unknown as Record<string, Record<string, unknown>>;
  return new Map(
    allSettings().map(({ group, name, path }) => [path, JSON.stringify(values[group]?.[name]) ?? ""]),
  );
};

/** The files may have become faulty between the start and now. */
function readOr(config: Config, env: Record<string, string | undefined>, flags: readonly string[]): Config {
  try {
    return readConfig(env, flags).config;
  } catch {
    return config;
  }
}
