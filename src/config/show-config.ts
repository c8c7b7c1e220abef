import { allSettings, readConfig } from "./load-config.ts";
import { createMask, MASK } from "./masked.ts";

/** One setting as `tempera config show` prints it. */
export interface ShownSetting {
  setting: string;
  /** `null` when it has none. */
  value: unknown;
  unit?: string;
  /** `default`, a file and its line, a variable, or `--set`. */
  source: string;
  /** The variable that overrides it. */
  variable: string;
}

/**
 * Every setting with its effective value; of a secret only that it is set, and of an address everything but
 * its password.
 */
export function showConfig(
  env: Record<string, string | undefined>,
  flags: readonly string[],
): ShownSetting[] {
  const { config, sources } = readConfig(env, flags);
  const groups = config as unknown as Record<string, Record<string, unknown>>;
  const mask = createMask(config);
  return allSettings().map(({ group, name, path, setting }) => {
    const value = groups[group]?.[name] ?? null;
    const shown = setting.secret && value !== null ? masked(String(value)) : value;
    return {
      setting: path,
      value: typeof shown === "string" ? mask(shown) : shown,
      ...(setting.unit && { unit: setting.unit }),
      source: sources.get(path) ?? "default",
      variable: setting.env,
    };
  });
}

/**
 * `postgres://tempera:***@db/tempera`: where an address leads is no secret, its password and its query may
 * be.
 */
function masked(value: string): string {
  if (!/^[a-z]+:\/\//i.test(value) || !URL.canParse(value)) return MASK;
  const { protocol, username, password, host, pathname } = new URL(value);
  const who = username || password ? `${username}${password ? `:${MASK}` : ""}@` : "";
  return `${protocol}//${who}${host}${pathname}`;
}
