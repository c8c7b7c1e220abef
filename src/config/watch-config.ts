import type { Log } from "../core/operations/log.ts";
import { findConfigFiles } from "./config-files.ts";
import { allSettings, readConfig } from "./load-config.ts";
import type { Config } from "./settings.ts";

/**
 * Interval between two checks of the files: a change takes effect within this time. Reading a few small files
 * costs next to nothing.
 */
const CHECK_EVERY_MS = 2_000;

export interface ConfigWatch {
  /** Checks the files now. */
  check(): void;
  stop(): void;
}

/**
 * Watches the configuration files for as long as the process runs. A change of a setting that is marked live
 * is written into `config`, where all readers see it; for the others, a warning asks for a restart. A faulty
 * file changes nothing.
 *
 * @param onChange called when something in `config` changed
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
  /** Values as last read, including those that take effect only after a restart. */
  let known = snapshot(readOr(config, env, flags));

  const check = (): void => {
    const text = textNow();
    if (text === seen) return;
    seen = text;
    let next: Config;
    try {
      next = readConfig(env, flags).config;
    } catch (error) {
      log.error(
        { err: error },
        "a configuration file changed and is faulty; the previous configuration stays in effect",
      );
      return;
    }
    const live: string[] = [];
    const waiting: string[] = [];
    const values = next as unknown as Record<string, Record<string, unknown>>;
    const now = snapshot(next);
    for (const { group, name, path, setting } of allSettings()) {
      if (now.get(path) === known.get(path)) continue;
      if (setting.live && running[group]) {
        running[group][name] = values[group]?.[name];
        live.push(path);
      } else waiting.push(path);
    }
    known = now;
    if (live.length > 0) {
      onChange();
      log.info({ settings: live.join(", ") }, "the configuration changed and took effect");
    }
    if (waiting.length > 0)
      log.warn(
        { settings: waiting.join(", ") },
        "the configuration changed; restart this process to apply these settings",
      );
  };
  const timer = setInterval(check, CHECK_EVERY_MS).unref();
  return { check, stop: () => clearInterval(timer) };
}

const snapshot = (config: Config): Map<string, string> => {
  const values = config as unknown as Record<string, Record<string, unknown>>;
  return new Map(
    allSettings().map(({ group, name, path }) => [path, JSON.stringify(values[group]?.[name]) ?? ""]),
  );
};

/** Reads the configuration again; gives `config` if the files became faulty since the start. */
function readOr(config: Config, env: Record<string, string | undefined>, flags: readonly string[]): Config {
  try {
    return readConfig(env, flags).config;
  } catch {
    return config;
  }
}
