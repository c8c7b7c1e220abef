/**
 * A model package is a folder: `models/<endpoint>/<version>/model.yaml`, weights beside it, and the pair of schemas in
 * `schemas/models/<endpoint>/<version>/`. Adding a model is adding a folder.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { join, normalize, relative, sep } from "node:path";
import { pipeline } from "node:stream/promises";
import type { ErrorObject, ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import { parse } from "yaml";
import { isEndpointId } from "../core/endpoint.ts";
import type { JsonObject } from "../core/json.ts";
import type { CheckpointPolicy, JsonSchema, ModelTimeouts, ModelVersion, Price, Restriction, RetryPolicy } from "../core/model.ts";

interface Manifest {
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

export interface PackageFaults {
  /** The folder, as it was found. */
  folder: string;
  faults: string[];
}

const describe = (error: ErrorObject): string =>
  `${error.instancePath || "/"} ${error.message}${"additionalProperty" in error.params ? ` (${error.params.additionalProperty})` : ""}`;

/** Compiles `schemas/manifest.json`; throws when that file itself is broken. */
export function createManifestCheck(schemasFolder: string): ValidateFunction<Manifest> {
  const schema = JSON.parse(readFileSync(join(schemasFolder, "manifest.json"), "utf8"));
  return new Ajv2020({ allErrors: true, useDefaults: true, strict: false, logger: false }).compile<Manifest>(schema);
}

/**
 * Reads and checks one model package. All its faults are returned together, each a sentence that names the file.
 *
 * @param folder the package's folder, `<modelsFolder>/<endpoint>/<version>`
 */
export async function readModelPackage(
  folder: string,
  {
    modelsFolder,
    schemasFolder,
    checkManifest,
  }: { modelsFolder: string; schemasFolder: string; checkManifest: ValidateFunction<Manifest> },
): Promise<ModelVersion | PackageFaults> {
  const faults: string[] = [];
  let manifest: unknown;
  let manifestText = "";
  try {
    manifestText = readFileSync(join(folder, "model.yaml"), "utf8");
    manifest = parse(manifestText);
  } catch (error) {
    return { folder, faults: [`model.yaml: ${(error as Error).message.split("\n")[0]}`] };
  }
  if (!checkManifest(manifest)) return { folder, faults: (checkManifest.errors ?? []).map((error) => `model.yaml: ${describe(error)}`) };

  const place = relative(modelsFolder, folder).split(sep).join("/");
  if (!isEndpointId(manifest.endpoint))
    faults.push(`model.yaml: /endpoint "${manifest.endpoint}" is not an endpoint id (owner/alias[/path], owner not reserved)`);
  if (place !== `${manifest.endpoint}/${manifest.version}`)
    faults.push(`model.yaml: says ${manifest.endpoint}/${manifest.version} but lies in ${place}`);

  const digest = createHash("sha256").update(manifestText);
  const readSchema = (name: "input" | "output"): JsonSchema => {
    const path = join(schemasFolder, "models", place, `${name}.json`);
    const label = `schemas/models/${place}/${name}.json`;
    if (!existsSync(path)) {
      faults.push(`${label}: missing`);
      return {};
    }
    try {
      const text = readFileSync(path, "utf8");
      digest.update(text);
      const schema = JSON.parse(text) as unknown;
      if (typeof schema !== "object" || schema === null || Array.isArray(schema)) throw new Error("is not a JSON Schema object");
      if ((schema as JsonObject).type !== "object") throw new Error('must describe an object ("type": "object")');
      if (name === "input" && !Object.hasOwn(schema, "properties")) throw new Error('must list its fields in "properties"');
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

  for (const [file, expected] of Object.entries(manifest.files).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const path = normalize(join(folder, file));
    if (!path.startsWith(folder + sep)) {
      faults.push(`${file}: lies outside the package`);
      continue;
    }
    if (!existsSync(path) || !statSync(path).isFile()) {
      faults.push(`${file}: missing`);
      continue;
    }
    const found = await sha256(path).catch((error: NodeJS.ErrnoException) => {
      faults.push(`${file}: cannot be read (${error.code})`);
    });
    if (found === undefined) continue;
    if (found !== expected) faults.push(`${file}: digest is ${found.slice(0, 12)}…, model.yaml says ${expected.slice(0, 12)}…`);
    digest.update(`${file}\n${expected}\n`);
  }
  if (faults.length > 0) return { folder, faults };

  const { files: _, ...rest } = manifest;
  return {
    ...rest,
    schemas,
    folder,
    publishedAtMs: Math.floor(statSync(join(folder, "model.yaml")).mtimeMs),
    digest: digest.digest("hex"),
  };
}

async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}
