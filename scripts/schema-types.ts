/**
 * Writes the types of all callable endpoints from `schemas/`, so that a pipeline's `run(endpoint, input)` is
 * typed: `npm run schemas:types`. The file is committed; a test fails when it does not match the schemas.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { compile, type JSONSchema } from "json-schema-to-typescript";

const PROJECT = resolve(import.meta.dirname, "..");

/** Path of the file with the types. */
export const TYPES_FILE = join(PROJECT, "src/workflows/pipelines/endpoint-types.ts");

type Schema = { [key: string]: unknown };

interface Callable {
  endpoint: string;
  /** The folder of its newest version's schemas. */
  folder: string;
  kind: "models" | "pipelines";
}

/** Generates the text of the types file from the schemas of the newest versions. */
export async function schemaTypes(schemasFolder: string): Promise<string> {
  const declarations: string[] = [];
  const rows: string[] = [];
  for (const { endpoint, folder, kind } of newest(schemasFolder)) {
    const name = pascal(endpoint);
    const read = (of: string): Schema => JSON.parse(readFileSync(join(folder, `${of}.json`), "utf8"));
    const input = read("input");
    declarations.push(await declare(input, `${name}Input`), await declare(read("output"), `${name}Output`));
    // A checked input has its defaults and a seed, so the pipeline's code can rely on them.
    if (kind === "pipelines") declarations.push(await declare(completed(input), `${name}Checked`));
    const checked = kind === "pipelines" ? `; checked: ${name}Checked` : "";
    rows.push(`  ${JSON.stringify(endpoint)}: { input: ${name}Input; output: ${name}Output${checked} };`);
  }
  return [
    "/** Written by `npm run schemas:types` from schemas/; change those instead. */\n",
    'import type { Json } from "../../core/json/json.ts";\n',
    "/** Input and output of each callable endpoint. */\n" +
      `export interface EndpointTypes {\n${rows.join("\n")}\n}\n`,
    ...declarations,
  ].join("\n");
}

/** Lists the endpoints of `models/` and `pipelines/` by name, each with its newest version. */
function newest(schemasFolder: string): Callable[] {
  const found = new Map<string, Callable & { version: number[] }>();
  for (const kind of ["models", "pipelines"] as const) {
    const root = join(schemasFolder, kind);
    if (!existsSync(root)) continue;
    for (const file of readdirSync(root, { recursive: true, encoding: "utf8" })) {
      if (basename(file) !== "input.json") continue;
      const versionPath = dirname(file).replaceAll("\\", "/");
      const endpoint = dirname(versionPath);
      const version = versionPath
        .slice(endpoint.length + 1)
        .split(".")
        .map(Number);
      const before = found.get(endpoint);
      if (!before || newer(version, before.version))
        found.set(endpoint, { endpoint, kind, version, folder: join(root, versionPath) });
    }
  }
  return [...found.values()].sort((a, b) => (a.endpoint < b.endpoint ? -1 : 1));
}

function newer(a: number[], b: number[]): boolean {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at >= 0 && (a[at] as number) > (b[at] as number);
}

/** Names a type: `fal-ai/wan/v2.2-a14b` → `FalAiWanV22A14B`, which the schema compiler does not change. */
const pascal = (endpoint: string): string =>
  endpoint
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.replace(/(^|\d)[a-z]/g, (letters) => letters.toUpperCase()))
    .join("");

/** Generates the declarations of a schema. They are not exported; only the generated table is. */
async function declare(schema: Schema, name: string): Promise<string> {
  const text = await compile(renamed(schema, name) as JSONSchema, name, {
    additionalProperties: false,
    bannerComment: "",
    ignoreMinAndMaxItems: true,
    unknownAny: true,
    style: { printWidth: 140, tabWidth: 2, singleQuote: false, trailingComma: "all" },
  });
  // Only types, not interfaces, are assignable to Json. A part that the schema leaves open is Json too.
  return text
    .replace(/^export interface (\w+) \{$/gm, "type $1 = {")
    .replace(/^export /gm, "")
    .replace(/\bunknown\b(?=[;[\]])/g, "Json");
}

/**
 * Prefixes the definitions of a schema with its name, since two schemas may have definitions of the same
 * name. Removes all other titles, which would become types of their own.
 */
function renamed(schema: Schema, name: string): Schema {
  const walk = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== "object" || value === null) return value;
    const entries = Object.entries(value as Schema).filter(
      ([key, item]) => !(key === "title" && typeof item === "string"),
    );
    return Object.fromEntries(
      entries.map(([key, item]) => [
        key,
        key === "$ref" && typeof item === "string" ? item.replace("#/$defs/", `#/$defs/${name}`) : walk(item),
      ]),
    );
  };
  const { $defs = {}, ...rest } = walk(schema) as Schema & { $defs?: Record<string, Schema> };
  const definitions = Object.entries($defs).map(([key, item]) => [
    `${name}${key}`,
    { ...item, title: `${name}${key}` },
  ]);
  return { ...rest, title: name, ...(definitions.length > 0 && { $defs: Object.fromEntries(definitions) }) };
}

/** Gives the schema of a checked input, in which the seed and fields with a default are required. */
function completed(schema: Schema): Schema {
  const properties = (schema.properties ?? {}) as Record<string, Schema>;
  const present = Object.keys(properties).filter(
    (name) => "default" in (properties[name] as Schema) || name === "seed",
  );
  return {
    ...schema,
    required: [...new Set([...((schema.required ?? []) as string[]), ...present])],
    properties: { ...properties, ...(properties.seed && { seed: { ...properties.seed, type: "integer" } }) },
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(TYPES_FILE, await schemaTypes(join(PROJECT, "schemas")));
  process.stderr.write(`Written: ${TYPES_FILE}\n`);
}
