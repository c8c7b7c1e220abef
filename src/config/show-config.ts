import { MASK } from "../core/operations/mask.ts";
import { allSettings, readConfig } from "./load-config.ts";
import { createMask } from "./masked.ts";

/** One setting as `tempera config show` prints it. */
export interface ShownSetting {
  setting: string;
  /** `null` without a value. */
  value: unknown;
  unit?: string;
  /** Source of the value: `default`, a file and its line, a variable, or `--set`. */
  source: string;
  /** The environment variable that overrides it. */
  variable: string;
}

/**
 * Lists every setting with its effective value. A secret is masked; an address is shown without its password.
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
 * Masks a secret, but keeps the host of an address, such as `postgres://tempera:***@db/tempera`: only its
 * password and query may be secret.
 */
function masked(value: string): string {
  if (!/^[a-z]+:\/\//i.test(value) || !URL.canParse(value)) return MASK;
  const { protocol, username, password, host, pathname } = new URL(value);
  const user = username || password ? `${username}${password ? `:${MASK}` : ""}@` : "";
  return `${protocol}//${user}${host}${pathname}`;
}
