/**
 * Checks what a model package says, wherever it was read from: a folder at start, or an archive that is
 * pushed.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ErrorObject, ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { isEndpointId } from "../core/models/endpoint.ts";
import type { JsonObject } from "../core/json/json.ts";
import type {
  CheckpointPolicy,
  JsonSchema,
  ModelTimeouts,
  Price,
  Restriction,
  RetryPolicy,
} from "../core/models/model.ts";
import type { VersionContent } from "../core/models/published-version.ts";

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

export type ManifestCheck = ValidateFunction<Manifest>;

const describe = (error: ErrorObject): string =>
  `${error.instancePath || "/"} ${error.message}${"additionalProperty" in error.params ? ` (${error.params.additionalProperty})` : ""}`;

/** Compiles `schemas/manifest.json`; throws when that file itself is broken. */
export function createManifestCheck(schemasFolder: string): ManifestCheck {
  const schema = JSON.parse(readFileSync(join(schemasFolder, "manifest.json"), "utf8"));
  return new Ajv2020({ allErrors: true, useDefaults: true, strict: false, logger: false }).compile<Manifest>(
    schema,
  );
}

/** Reads `model.yaml`. */
export function readManifest(text: string, check: ManifestCheck): Manifest | { faults: string[] } {
  let manifest: unknown;
  try {
    manifest = parse(text);
  } catch (error) {
    return { faults: [`model.yaml: ${(error as Error).message.split("\n")[0]}`] };
  }
  if (!check(manifest))
    return { faults: (check.errors ?? []).map((error) => `model.yaml: ${describe(error)}`) };
  return manifest;
}

/** What belongs to a manifest. */
export interface PackageTexts {
  manifestText: string;
  /** The text of a schema and what it is called in a fault; no text when there is none. */
  schema(name: "input" | "output"): { label: string; text: string | undefined };
  /** The SHA-256 of a weight file, or what is wrong with it. */
  fileDigest(path: string): Promise<{ sha256: string } | { fault: string }>;
}

/**
 * Checks a manifest that could be read together with what belongs to it. All faults are returned together,
 * each a sentence that names the file.
 */
export async function checkPackage(
  manifest: Manifest,
  { manifestText, schema: schemaOf, fileDigest }: PackageTexts,
): Promise<VersionContent | { faults: string[] }> {
  const faults: string[] = [];
  if (!isEndpointId(manifest.endpoint))
    faults.push(
      `model.yaml: /endpoint "${manifest.endpoint}" is not an endpoint id (owner/alias[/path], owner not reserved)`,
    );

  const digest = createHash("sha256").update(manifestText);
  const readSchema = (name: "input" | "output"): JsonSchema => {
    const { label, text } = schemaOf(name);
    if (text === undefined) {
      faults.push(`${label}: missing`);
      return {};
    }
    try {
      digest.update(text);
      const schema = JSON.parse(text) as unknown;
      if (typeof schema !== "object" || schema === null || Array.isArray(schema))
        throw new Error("is not a JSON Schema object");
      if ((schema as JsonObject).type !== "object")
        throw new Error('must describe an object ("type": "object")');
      if (name === "input" && !Object.hasOwn(schema, "properties"))
        throw new Error('must list its fields in "properties"');
      new Ajv2020({ strict: false, validateFormats: false, logger: false }).compile(schema);
      return schema as JsonSchema;
    } catch (error) {
      faults.push(`${label}: ${(error as Error).message}`);
      return {};
    }
  };
  const schemas = { input: readSchema("input"), output: readSchema("output") };

  const properties = (schemas.input.properties ?? {}) as JsonObject;
  for (const { field, accepts } of manifest.restrictions) {
    if (schemas.input.properties && !Object.hasOwn(properties, field))
      faults.push(`model.yaml: /restrictions names "${field}", which input.json has not`);
    try {
      new Ajv2020({ strict: false, validateFormats: false, logger: false }).compile(accepts);
    } catch (error) {
      faults.push(`model.yaml: /restrictions/${field}/accepts: ${(error as Error).message}`);
    }
  }

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
        `${file}: digest is ${found.sha256.slice(0, 12)}…, model.yaml says ${expected.slice(0, 12)}…`,
      );
    digest.update(`${file}\n${expected}\n`);
  }
  if (faults.length > 0) return { faults };

  const { files: _, ...rest } = manifest;
  return { ...rest, schemas, digest: digest.digest("hex") };
}
