import { existsSync, readFileSync } from "node:fs";
import { parseDocument } from "yaml";
import { CONFIG_FILE_ENV, type Config, SETTINGS, type Setting } from "./settings.ts";

/** The configuration is faulty; the message names every fault, where it stands, and never a secret's value. */
class ConfigFaults extends Error {
  constructor(faults: string[]) {
    super(
      `The configuration has ${faults.length === 1 ? "a fault" : `${faults.length} faults`}:\n${faults.map((fault) => `  ${fault}`).join("\n")}`,
    );
  }
}

/**
 * Reads the configuration once, at the door: defaults, overridden by `tempera.yaml` (or the file `TEMPERA_CONFIG` names),
 * overridden by the environment. An empty variable counts as absent.
 *
 * @throws ConfigFaults with all faults together
 */
export function loadConfig(env: Record<string, string | undefined> = process.env): Config {
  const faults: string[] = [];
  const file = readFile(env[CONFIG_FILE_ENV], faults);
  const config: Record<string, Record<string, unknown>> = {};
  for (const [group, settings] of Object.entries(SETTINGS) as [string, Record<string, Setting<unknown>>][]) {
    const section = sectionOf(file, group, settings, faults);
    config[group] = {};
    for (const [name, setting] of Object.entries(settings)) {
      const fromEnv = env[setting.env] || undefined;
      const raw = fromEnv ?? section[name];
      if (raw === undefined || raw === null) {
        config[group][name] = setting.default;
        continue;
      }
      const parsed = setting.schema.safeParse(raw);
      if (parsed.success) config[group][name] = parsed.data;
      else {
        const where = fromEnv === undefined ? `${group}.${name}` : setting.env;
        const shown = setting.secret ? "" : ` (is ${JSON.stringify(raw)})`;
        faults.push(`${where}: ${parsed.error.issues.map(({ message }) => message).join("; ")}${shown}`);
      }
    }
  }
  if (faults.length > 0) throw new ConfigFaults(faults);
  return config as Config;
}

function readFile(named: string | undefined, faults: string[]): Record<string, unknown> {
  const path = named || "tempera.yaml";
  if (!existsSync(path)) {
    if (named) faults.push(`${CONFIG_FILE_ENV}: there is no file ${path}`);
    return {};
  }
  try {
    const content: unknown = parseYaml(readFileSync(path, "utf8")) ?? {};
    if (typeof content !== "object" || Array.isArray(content)) throw new Error("must be a mapping");
    for (const group of Object.keys(content as object)) {
      if (!Object.hasOwn(SETTINGS, group)) faults.push(`${path}: "${group}" is no group of settings (${Object.keys(SETTINGS).join(", ")})`);
    }
    return content as Record<string, unknown>;
  } catch (error) {
    faults.push(`${path}: ${(error as Error).message.split("\n")[0]}`);
    return {};
  }
}

/** The parser's own sentences quote the text, which may be a secret: only the place and the kind of its fault are told. */
function parseYaml(text: string): unknown {
  const document = parseDocument(text);
  const [fault] = document.errors;
  if (fault) throw new Error(`line ${fault.linePos?.[0].line ?? 1} is not YAML (${fault.code})`);
  try {
    return document.toJS();
  } catch {
    throw new Error("is not YAML (an alias, written *name, that names nothing; put text that begins with * in quotes)");
  }
}

function sectionOf(
  file: Record<string, unknown>,
  group: string,
  settings: Record<string, unknown>,
  faults: string[],
): Record<string, unknown> {
  const section = file[group] ?? {};
  if (typeof section !== "object" || Array.isArray(section)) {
    faults.push(`${group}: must be a mapping`);
    return {};
  }
  for (const name of Object.keys(section)) {
    if (!Object.hasOwn(settings, name)) faults.push(`${group}.${name}: there is no such setting (${Object.keys(settings).join(", ")})`);
  }
  return section as Record<string, unknown>;
}
