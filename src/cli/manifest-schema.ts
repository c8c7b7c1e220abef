import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseJson, writeJson } from "../core/json/exact-json.ts";
import type { JsonObject } from "../core/json/json.ts";
import { ENGINE_PROGRAMS } from "../gpu-workers/worker/process/engine-programs.ts";

const MANIFEST = join(import.meta.dirname, "../../schemas/manifest.json");

/**
 * Writes the schema of `model.yaml` for editors: that of the manifest, in the dialect that YAML editors
 * support, with the built-in engines and their runners to choose from. Engines of a configuration stay
 * possible.
 */
export function manifestSchemaForEditors(): string {
  const {
    $schema: _,
    $id: __,
    properties,
    ...manifest
  } = parseJson<JsonObject>(readFileSync(MANIFEST, "utf8"));
  const fields = properties as Record<string, JsonObject>;
  const engines = Object.entries(ENGINE_PROGRAMS);
  const schema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    $comment: "Written by `npm run schemas:manifest` from manifest.json.",
    ...manifest,
    properties: {
      ...fields,
      engine: { ...fields.engine, anyOf: [{ enum: engines.map(([name]) => name) }, { type: "string" }] },
    },
    allOf: engines.map(([name, { runners }]) => ({
      if: { properties: { engine: { const: name } }, required: ["engine"] },
      // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
      then: { properties: { runner: { enum: runners } } },
    })),
  };
  return `${writeJson(schema, 2)}\n`;
}
