/** Writes the folder of a new engine in Python from the template of `engines/python/template`. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { BUILT_IN_ENGINES } from "../core/engines/configured-engine.ts";
import { isEndpointId } from "../core/models/endpoint.ts";

export interface NewEngine {
  /** Name of the engine and of its runner. */
  name: string;
  /** @default "acme/<name>" */
  endpoint?: string | undefined;
  /** The folder to write, which must be empty or absent. @default a folder of that name, here */
  folder?: string | undefined;
}

const PROJECT = resolve(import.meta.dirname, "../..");
const TEMPLATE = join(PROJECT, "engines/python/template");
/** Schema of `model.yaml` for editors. */
export const EDITOR_SCHEMA = join(PROJECT, "schemas/model.schema.json");

/** The names of files that would have an effect in the template's own folder. */
const NAMES: Record<string, string> = { dockerignore: ".dockerignore" };
/** Folders that a run of the template leaves beside its files. */
const LEFTOVERS = /(^|\/)(__pycache__|\.pytest_cache|\.venv)(\/|$)/;

/**
 * Writes a new engine and returns its folder.
 *
 * Throws a sentence with the remedy when the name or the endpoint is none, or the folder is not empty.
 */
export function initEngine({ name, endpoint = `acme/${name}`, folder = name }: NewEngine): string {
  if (!/^[a-z][a-z0-9-]{0,39}$/.test(name) || name.endsWith("-"))
    throw new Error(`"${name}" is no name for an engine; use a-z, 0-9 and -, such as my-engine.`);
  if ((BUILT_IN_ENGINES as readonly string[]).includes(name))
    throw new Error(`${name} is the name of a built-in engine; choose another one.`);
  if (!isEndpointId(endpoint))
    throw new Error(`"${endpoint}" is no endpoint; give it as owner/alias, such as acme/${name}.`);
  const target = resolve(folder);
  if (!isEmpty(target))
    throw new Error(`${target} is not empty; name another folder with --folder, or empty it.`);
  const files = readdirSync(TEMPLATE, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(TEMPLATE, join(entry.parentPath, entry.name)))
    .filter((path) => !LEFTOVERS.test(path));
  for (const path of files) {
    const file = join(target, NAMES[path] ?? path);
    mkdirSync(dirname(file), { recursive: true });
    const values = valuesOf({ name, endpoint, target, folder: dirname(file) });
    const text = readFileSync(join(TEMPLATE, path), "utf8");
    writeFileSync(
      file,
      text.replaceAll(/acme\/my-engine|my-engine|MyEngine|\{\{\w+\}\}/g, (key) => values[key] ?? key),
    );
  }
  return target;
}

function valuesOf(at: {
  name: string;
  endpoint: string;
  target: string;
  folder: string;
}): Record<string, string> {
  return {
    "acme/my-engine": at.endpoint,
    "my-engine": at.name,
    MyEngine: at.name.replaceAll(/(?:^|-)(\w)/g, (_, letter: string) => letter.toUpperCase()),
    "{{folder}}": at.target,
    "{{tempera}}": PROJECT,
    "{{schema}}": relative(at.folder, EDITOR_SCHEMA),
  };
}

function isEmpty(folder: string): boolean {
  try {
    return readdirSync(folder).length === 0;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return true;
    throw new Error(`${folder} is no folder; name another one with --folder.`, { cause: error });
  }
}
