import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { isAlias, isMap, isScalar, LineCounter, type YAMLMap } from "yaml";
import { parseBoundedYaml } from "../core/json/bounded-yaml.ts";
import { nearestName } from "./nearest-name.ts";
import { CONFIG_FILE_ENV, SETTINGS, type Setting } from "./settings.ts";

/** The value that a file gives for one setting. */
export interface FileValue {
  raw: unknown;
  /** The file and line for a person to find it, such as `config/site.yaml:12`. */
  at: string;
}

export interface ConfigFiles {
  /** Values by `<group>.<name>`; a later file wins. */
  values: Map<string, FileValue>;
  faults: string[];
}

/** The file and the folder that are read, in this order, if no other is named. */
const OWN_FILE = "tempera.yaml";
const OWN_FOLDER = "config";

/**
 * Finds the text of every configuration file by its path, in the order in which they are read: a later one
 * wins. A file or folder that cannot be read is added to `faults`.
 */
export function findConfigFiles(
  env: Record<string, string | undefined>,
  faults: string[] = [],
): Map<string, string> {
  const named = env[CONFIG_FILE_ENV] || undefined;
  if (named && !existsSync(named)) faults.push(`${CONFIG_FILE_ENV}: there is no file or folder ${named}`);
  const texts = new Map<string, string>();
  const cannotBeRead = (path: string, error: unknown): void =>
    void faults.push(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  for (const location of named ? [named] : [OWN_FILE, OWN_FOLDER]) {
    let paths: string[] = [];
    try {
      paths = filesOf(location);
    } catch (error) {
      cannotBeRead(location, error);
    }
    for (const path of paths) {
      try {
        texts.set(path, readFileSync(path, "utf8"));
      } catch (error) {
        cannotBeRead(path, error);
      }
    }
  }
  return texts;
}

/** Lists a file itself, or the YAML files of a folder by name. Throws when the folder cannot be read. */
function filesOf(path: string): string[] {
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found) return [];
  if (!found.isDirectory()) return [path];
  const names = readdirSync(path).filter((name) => /\.ya?ml$/.test(name) && !name.startsWith("."));
  return names.sort().map((name) => join(path, name));
}

/** Reads the values that the files give for settings, and the files' faults. No fault quotes a value. */
export function readConfigFiles(texts: Map<string, string>): ConfigFiles {
  const values = new Map<string, FileValue>();
  const faults: string[] = [];
  for (const [path, text] of texts) readOne(path, text, values, faults);
  return { values, faults };
}

function readOne(path: string, text: string, values: Map<string, FileValue>, faults: string[]): void {
  const lines = new LineCounter();
  const parsed = parseBoundedYaml(text, { lineCounter: lines });
  const at = (node: unknown): string => `${path}:${lines.linePos(rangeStart(node)).line || 1}`;
  // The parser's own messages quote the text, which may be a secret: the fault names only the line and the
  // parser's code.
  if ("fault" in parsed)
    return void faults.push(`${path}:${parsed.fault.line}: is not valid YAML (${parsed.fault.code})`);
  const { document } = parsed;
  if (document.contents === null || isEmpty(document.contents)) return;
  if (!isMap(document.contents)) return void faults.push(`${path}: must be a mapping of groups of settings`);
  let content: Record<string, unknown>;
  try {
    content = document.toJS();
  } catch {
    return void faults.push(
      `${path}: is not valid YAML: an alias (*name) refers to no anchor; ` +
        "put text that begins with * in quotes",
    );
  }
  for (const { key, value } of document.contents.items) {
    const group = nameOf(key);
    if (!Object.hasOwn(SETTINGS, group)) {
      faults.push(
        `${at(key)}: "${group}" is not a group of settings${nearestName(group, Object.keys(SETTINGS))}`,
      );
      continue;
    }
    const section = isAlias(value) ? value.resolve(document) : value;
    if (section === null || isEmpty(section)) continue;
    if (!isMap(section)) {
      faults.push(`${at(value)}: ${group}: must be a mapping of settings`);
      continue;
    }
    readSection(group, section, content[group] as Record<string, unknown>, at, values, faults);
  }
}

function readSection(
  group: string,
  section: YAMLMap,
  content: Record<string, unknown>,
  at: (node: unknown) => string,
  values: Map<string, FileValue>,
  faults: string[],
): void {
  const table: Record<string, Setting<unknown>> = SETTINGS[group as keyof typeof SETTINGS];
  const settings = Object.keys(table);
  for (const { key } of section.items) {
    const name = nameOf(key);
    if (!settings.includes(name)) {
      faults.push(`${at(key)}: ${group}.${name}: there is no such setting${nearestName(name, settings)}`);
      continue;
    }
    const raw = content[name];
    if (raw === undefined || raw === null) continue;
    const former = table[name]?.joined && values.get(`${group}.${name}`)?.raw;
    values.set(`${group}.${name}`, { raw: joinedWith(former, raw), at: at(key) });
  }
}

/** Adds the names of a mapping to those of a former file; a later one wins. */
function joinedWith(former: unknown, raw: unknown): unknown {
  const isMapping = (value: unknown) => typeof value === "object" && value !== null && !Array.isArray(value);
  return isMapping(former) && isMapping(raw) ? { ...(former as object), ...(raw as object) } : raw;
}

const isEmpty = (node: unknown): boolean => isScalar(node) && node.value === null;
const nameOf = (key: unknown): string =>
  String(isScalar(key) ? key.value : "a key that is not text").slice(0, 100);
const rangeStart = (node: unknown): number => (node as { range?: [number] } | null)?.range?.[0] ?? 0;
