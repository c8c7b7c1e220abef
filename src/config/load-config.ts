import { readFileSync } from "node:fs";
import { findConfigFiles, readConfigFiles } from "./config-files.ts";
import { nearestName } from "./nearest-name.ts";
import { type Config, SETTINGS, type Setting } from "./settings.ts";

/** Lists every fault of the configuration with its source, and never the value of a secret. */
class ConfigFaults extends Error {
  /** The format in which to tell the faults, if it is none of them. */
  readonly logFormat: Config["log"]["format"];

  constructor(faults: string[], logFormat: Config["log"]["format"]) {
    const count = faults.length === 1 ? "a fault" : `${faults.length} faults`;
    super(`The configuration has ${count}:\n${faults.map((fault) => `  ${fault}`).join("\n")}`);
    this.logFormat = logFormat;
  }
}

type Environment = Record<string, string | undefined>;

export interface LoadedConfig {
  config: Config;
  /**
   * Source of each value by `<group>.<name>`: `default`, `config/site.yaml:12`, `TEMPERA_PORT` or `--set`.
   */
  sources: Map<string, string>;
}

/** One value as it was found, not yet checked. */
interface Found {
  raw: unknown;
  /** Source of the value. */
  at: string;
}

/** Largest file of a secret. A secret is one line; a larger file is a mistake. */
const SECRET_FILE_BYTES_MAX = 64 * 1024;

/** Lists every setting with its name, in the order of the table. */
export function allSettings(): { group: string; name: string; path: string; setting: Setting<unknown> }[] {
  return (Object.entries(SETTINGS) as [string, Record<string, Setting<unknown>>][]).flatMap(
    ([group, settings]) =>
      Object.entries(settings).map(([name, setting]) => ({ group, name, path: `${group}.${name}`, setting })),
  );
}

/** Reads the configuration without the sources of its values; see `readConfig`. */
export function loadConfig(env: Environment = process.env, flags: readonly string[] = []): Config {
  return readConfig(env, flags).config;
}

/**
 * Reads the configuration, once at the start of a process: defaults, overridden by the files (`tempera.yaml`,
 * then `config/*.yaml`, or what `TEMPERA_CONFIG` names), overridden by the environment, overridden by the
 * command line. An empty variable counts as absent.
 *
 * @param flags  values of `--set`, each `<group>.<name>=<value>`
 * @throws ConfigFaults with all faults together
 */
export function readConfig(env: Environment = process.env, flags: readonly string[] = []): LoadedConfig {
  const faults: string[] = [];
  const files = readConfigFiles(findConfigFiles(env, faults));
  faults.push(...files.faults);
  const set = readFlags(flags, faults);
  const config: Record<string, Record<string, unknown>> = {};
  const sources = new Map<string, string>();
  for (const { group, name, path, setting } of allSettings()) {
    config[group] ??= {};
    const found = set.get(path) ?? fromEnvironment(env, setting, faults) ?? files.values.get(path);
    const value = found && mayBeFile(setting) ? contentOf(found, path, faults) : found;
    if (!value) {
      config[group][name] = setting.default;
      sources.set(path, "default");
      continue;
    }
    const parsed = setting.schema.safeParse(value.raw);
    if (parsed.success) {
      config[group][name] = parsed.data;
      sources.set(path, value.at);
    } else faults.push(faultOf(value, path, setting, parsed.error.issues));
  }
  faults.push(...conflictsOf(config as Partial<Config>, sources));
  if (faults.length > 0) throw new ConfigFaults(faults, (config as Partial<Config>).log?.format);
  return { config: config as Config, sources };
}

/** Lists the faults of values that are valid, but not together. */
function conflictsOf({ server }: Partial<Config>, sources: Map<string, string>): string[] {
  const hostOf = (address: string | undefined) => address && new URL(address).hostname;
  const filesHost = hostOf(server?.filesUrl);
  if (!filesHost || filesHost !== hostOf(server?.publicUrl)) return [];
  return [
    `${sources.get("server.filesUrl")}: server.filesUrl: must have another host name than server.publicUrl ` +
      `(both have ${filesHost}); give the files a name of their own, such as files.${filesHost}`,
  ];
}

function faultOf(
  { raw, at }: Found,
  path: string,
  { secret, joined }: Setting<unknown>,
  issues: { message: string }[],
): string {
  // The faults of a mapping name the value that is at fault, and need not show the rest.
  const shown = secret || joined ? "" : ` (is ${JSON.stringify(raw)})`;
  return `${at}: ${path}: ${issues.map(({ message }) => message).join("; ")}${shown}`;
}

function mayBeFile({ secret, fromFile }: Setting<unknown>): boolean {
  return secret === true || fromFile === true;
}

/** Finds the setting's variable or, if it may be a file, the file that `<variable>_FILE` names. */
function fromEnvironment(env: Environment, setting: Setting<unknown>, faults: string[]): Found | undefined {
  const { env: variable } = setting;
  const value = env[variable] || undefined;
  const fileVariable = `${variable}_FILE`;
  const path = mayBeFile(setting) && (env[fileVariable] || undefined);
  if (!path) return value === undefined ? undefined : { raw: value, at: variable };
  if (value !== undefined) faults.push(`${variable} and ${fileVariable} are both set; set one of them`);
  return { raw: { file: path }, at: fileVariable };
}

/**
 * Gives a value itself or, for `{ file: <path> }`, the content of the file without its last newline.
 * `undefined` when the file cannot be read.
 */
function contentOf({ raw, at }: Found, path: string, faults: string[]): Found | undefined {
  if (typeof raw !== "object" || raw === null || Object.keys(raw).join() !== "file") return { raw, at };
  const { file } = raw as { file: unknown };
  const fault = (reason: string): undefined =>
    void faults.push(`${at}: ${path}: the file ${JSON.stringify(file)} ${reason}`);
  if (typeof file !== "string") return fault("must be named by its path");
  try {
    const text = readFileSync(file, "utf8");
    if (text.length > SECRET_FILE_BYTES_MAX) return fault("is too large for a secret");
    const value = text.replace(/\r?\n$/, "");
    return value === "" ? fault("is empty") : { raw: value, at };
  } catch (error) {
    return fault(`cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}

/** Reads the values of `--set`. A secret is refused: every user of the machine can read a command line. */
function readFlags(flags: readonly string[], faults: string[]): Map<string, Found> {
  const settings = new Map(allSettings().map(({ path, setting }) => [path, setting]));
  const found = new Map<string, Found>();
  for (const flag of flags) {
    const [, path, value] = /^([^=]+)=(.*)$/s.exec(flag) ?? [];
    const setting = settings.get(path ?? "");
    if (path === undefined || value === undefined)
      faults.push("--set: must be <group>.<name>=<value>, such as --set server.port=9000");
    else if (!setting)
      faults.push(`--set ${path}: there is no such setting${nearestName(path, [...settings.keys()])}`);
    else if (setting.secret)
      faults.push(
        `--set ${path}: a secret on a command line can be read by every user of the machine; ` +
          `use ${setting.env} or ${setting.env}_FILE`,
      );
    else found.set(path, { raw: value, at: "--set" });
  }
  return found;
}
