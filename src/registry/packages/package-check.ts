/**
 * Checks of a model package, wherever it comes from: a folder at the start, or an archive that is pushed.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ErrorObject } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parseBoundedYaml } from "../../core/json/bounded-yaml.ts";
import { parseJson } from "../../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import { countValues, jsonExcess } from "../../core/json/json-bounds.ts";
import { LIMITS } from "../../core/limits.ts";
import { isEndpointId } from "../../core/models/endpoint.ts";
import type {
  CheckpointPolicy,
  JsonSchema,
  ModelTimeouts,
  Price,
  Restriction,
  RetryPolicy,
} from "../../core/models/model.ts";
import type { VersionContent } from "../../core/models/published-version.ts";
import type { Log } from "../../core/operations/log.ts";
import { linearPattern } from "../linear-pattern.ts";
import { costFault } from "../schemas/cost-fault.ts";

/** The parsed `model.yaml`; `schemas/manifest.json` describes each field. */
export interface Manifest {
  endpoint: string;
  version: string;
  title: string;
  description: string;
  category: string;
  runner: string;
  engine: string;
  slots: number;
  memoryMiB: number;
  pinned: boolean;
  realtime: boolean;
  retry: RetryPolicy;
  timeouts: ModelTimeouts;
  checkpoint: CheckpointPolicy;
  price?: Price;
  parameters: JsonObject;
  restrictions: Restriction[];
  files: Record<string, string>;
}

/** Parses and checks the text of a `model.yaml`. All its faults are returned together, each a sentence. */
export type ManifestCheck = (text: string) => Manifest | { faults: string[] };

function describe({ instancePath, message, params }: ErrorObject): string {
  const property = "additionalProperty" in params ? ` (${params.additionalProperty})` : "";
  return `${instancePath || "/"} ${message}${property}`;
}

/**
 * Compiles `schemas/manifest.json` into a check; throws when that file itself is broken.
 *
 * @param log warned about fields that have another name today
 */
export function createManifestCheck(schemasFolder: string, log?: Pick<Log, "warn">): ManifestCheck {
  const schema = parseJson<JsonSchema>(readFileSync(join(schemasFolder, "manifest.json"), "utf8"));
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, strict: false, logger: false });
  const validate = ajv.compile<Manifest>(schema);
  return (text) => {
    let manifest: Json;
    try {
      const parsed = parseBoundedYaml(text, { intAsBigInt: true });
      if ("fault" in parsed)
        return { faults: [`model.yaml: ${parsed.fault.message} (line ${parsed.fault.line})`] };
      manifest = mapIntegers(parsed.document.toJS(), narrow);
    } catch (error) {
      return { faults: [`model.yaml: ${(error as Error).message.split("\n")[0]}`] };
    }
    if (renameFormerFields(manifest)) {
      const { endpoint, version } = manifest as JsonObject;
      log?.warn({ endpoint, version }, 'model.yaml has restrictions with "says"; rename it to "message"');
    }
    if (validate(manifest)) return manifest;
    return { faults: (validate.errors ?? []).map((error) => `model.yaml: ${describe(error)}`) };
  };
}

/** The former name of a restriction's `message`. */
const FORMER_MESSAGE = "says";

/** Renames `FORMER_MESSAGE` to `message` in a manifest, in place. Returns true if the manifest has it. */
function renameFormerFields(manifest: Json): boolean {
  if (!isObject(manifest) || !Array.isArray(manifest.restrictions)) return false;
  let isFormer = false;
  manifest.restrictions = manifest.restrictions.map((restriction) => {
    if (!isObject(restriction) || !(FORMER_MESSAGE in restriction)) return restriction;
    isFormer = true;
    if (restriction.message !== undefined) return restriction;
    const { [FORMER_MESSAGE]: message = null, ...rest } = restriction;
    return { ...rest, message };
  });
  return isFormer;
}

/** The texts and files of a package. */
export interface PackageSource {
  manifestText: string;
  /** The text of a schema, `undefined` when it is missing, and its name in faults. */
  schema(name: "input" | "output"): { label: string; text: string | undefined };
  /** The SHA-256 of a weight file, or the reason why there is none. */
  fileDigest(path: string): Promise<{ sha256: string } | { fault: string }>;
}

/**
 * Checks a manifest together with its schemas and weight files. All faults are returned together, each a
 * sentence that names the file.
 */
export async function checkPackage(
  manifest: Manifest,
  { manifestText, schema: schemaOf, fileDigest }: PackageSource,
): Promise<VersionContent | { faults: string[] }> {
  const faults: string[] = [];
  if (!isEndpointId(manifest.endpoint))
    faults.push(
      `model.yaml: /endpoint "${manifest.endpoint}" is not an endpoint id ` +
        "(owner/alias[/path], owner not reserved)",
    );

  const digest = createHash("sha256").update(manifestText);
  const schemaNamed = (name: "input" | "output"): JsonSchema => {
    const { label, text } = schemaOf(name);
    if (text !== undefined) digest.update(text);
    try {
      return parseSchema(name, text);
    } catch (error) {
      faults.push(`${label}: ${(error as Error).message}`);
      return {};
    }
  };
  const schemas = { input: schemaNamed("input"), output: schemaNamed("output") };
  faults.push(...restrictionFaults(manifest.restrictions, schemas.input));
  const { restrictions } = manifest;
  const tooCostly = faults.length === 0 ? costFault({ schemas, restrictions }) : undefined;
  if (tooCostly) faults.push(`${schemaOf("input").label}: ${tooCostly}`);

  // On a disk a name is a file or a folder; an archive can have both.
  for (const file of Object.keys(manifest.files))
    if (Object.keys(manifest.files).some((other) => other.startsWith(`${file}/`)))
      faults.push(`${file}: is a file and a folder`);

  for (const [file, expected] of Object.entries(manifest.files).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const found = await fileDigest(file);
    if ("fault" in found) {
      faults.push(`${file}: ${found.fault}`);
      continue;
    }
    if (found.sha256 !== expected)
      faults.push(
        `${file}: digest is ${found.sha256.slice(0, 12)}…, model.yaml has ${expected.slice(0, 12)}…`,
      );
    digest.update(`${file}\n${expected}\n`);
  }
  if (faults.length > 0) return { faults };

  const { files: _, ...rest } = manifest;
  return { ...rest, schemas, digest: digest.digest("hex") };
}

/**
 * Compiles a schema as far as it can be wrong; ajv takes no `bigint`s. Throws for one that would take long: a
 * `$ref` is compiled once, however often it is used.
 */
function compile(schema: JsonObject): void {
  if (countValues(schema, LIMITS.schemaValuesMax) > LIMITS.schemaValuesMax)
    throw new Error(`has more than ${LIMITS.schemaValuesMax} values, which takes too long to compile`);
  const ajv = new Ajv2020({
    strict: false,
    validateFormats: false,
    logger: false,
    inlineRefs: false,
    loopEnum: 2,
    code: { regExp: linearPattern, optimize: false },
  });
  ajv.compile(mapIntegers(schema, Number) as JsonObject);
}

/** The reader of YAML gives all integers as `bigint`, or rounds large ones. */
const narrow = (value: bigint): Json => {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
};

/** Copies a value with its `bigint`s changed. */
function mapIntegers(value: Json, change: (value: bigint) => Json): Json {
  if (typeof value === "bigint") return change(value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => mapIntegers(item, change));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, mapIntegers(item, change)]));
}

/** Parses and compiles one schema of a package. Throws an error whose message is a fault. */
function parseSchema(name: "input" | "output", text: string | undefined): JsonSchema {
  if (text === undefined) throw new Error("missing");
  const { schemaDepthMax: depthMax, schemaValuesMax: valuesMax } = LIMITS;
  const excess = jsonExcess(text, { depthMax, valuesMax, fieldsMax: valuesMax });
  if (excess === "depth") throw new Error(`is nested deeper than ${LIMITS.schemaDepthMax} levels`);
  if (excess)
    throw new Error(`has more than ${LIMITS.schemaValuesMax} values, which takes too long to compile`);
  const schema = parseJson(text);
  if (!isObject(schema)) throw new Error("is not a JSON Schema object");
  if (schema.type !== "object") throw new Error('must describe an object ("type": "object")');
  if (name === "input" && !Object.hasOwn(schema, "properties"))
    throw new Error('must list its fields in "properties"');
  compile(schema);
  return schema;
}

function restrictionFaults(restrictions: readonly Restriction[], { properties }: JsonSchema): string[] {
  return restrictions.flatMap(({ field, accepts }) => {
    const faults: string[] = [];
    if (properties && !Object.hasOwn(properties as JsonObject, field))
      faults.push(`model.yaml: /restrictions names "${field}", which is not a field of input.json`);
    try {
      compile(accepts);
    } catch (error) {
      faults.push(`model.yaml: /restrictions/${field}/accepts: ${(error as Error).message}`);
    }
    return faults;
  });
}
