/**
 * A plain schema is a copy of a JSON Schema from an untrusted author, or of a part of one: a tree of bounded
 * size with the keywords below and without references. It accepts at least what the original accepts, because
 * a keyword that is left out restricts nothing.
 */

import type { JsonSchema } from "../models/model.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";
import { countValues } from "./json-bounds.ts";

/**
 * Keywords that are copied unchanged. `pattern` is not among them: a caller's regular expression can block a
 * process for minutes.
 */
const COPIED_KEYWORDS = [
  "title",
  "description",
  "default",
  "examples",
  "enum",
  "const",
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "required",
  "x-fal-order-properties",
] as const;

const IS_WELL_FORMED: Record<string, (value: Json) => boolean> = {
  title: (value) => typeof value === "string",
  description: (value) => typeof value === "string",
  enum: (value) => Array.isArray(value) && value.length > 0,
  required: (value) => Array.isArray(value) && value.every((name) => typeof name === "string"),
  ...Object.fromEntries(
    ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"].map((word) => [
      word,
      (value: Json) => typeof value === "number" || typeof value === "bigint",
    ]),
  ),
  ...Object.fromEntries(
    ["minLength", "maxLength", "minItems", "maxItems"].map((word) => [
      word,
      (value: Json) => Number.isInteger(value) && Number(value) >= 0,
    ]),
  ),
};

/** Keywords whose value is one schema. */
const SCHEMA_KEYWORDS = ["items", "additionalProperties"] as const;
/** Keywords whose value is a list of schemas. */
const SCHEMA_LIST_KEYWORDS = ["anyOf", "oneOf", "allOf"] as const;

const TYPES = new Set(["string", "number", "integer", "boolean", "object", "array", "null"]);

export function isSchemaType(word: unknown): word is string {
  return typeof word === "string" && TYPES.has(word);
}

/** The size that a copy may still grow by. Below zero: some of the original was left out. */
export interface SchemaBudget {
  /** Schemas, nested ones included. */
  left: number;
  /** Names in `required` and values in `enum`, `const` and `default`, nested ones included. */
  entriesLeft: number;
}

/** Keywords whose entries are counted: a check is compiled from each of them. */
const COUNTED_KEYWORDS: ReadonlySet<string> = new Set(["required", "enum", "const", "default"]);

/** Schemas nested deeper than this are replaced by the empty schema. */
const DEPTH_MAX = 24;

/**
 * Copies a schema as a plain schema.
 *
 * @param root the document that its `$ref`s point into
 * @param budget is reduced by what is copied; without it, references that branch into themselves would grow
 *   without end
 */
export function plainSchema(raw: Json | undefined, root: JsonSchema, budget: SchemaBudget): JsonSchema {
  return copy(raw, 0);

  function copy(value: Json | undefined, depth: number): JsonSchema {
    budget.left -= 1;
    if (!isObject(value) || depth > DEPTH_MAX || budget.left < 0) return {};
    const schema: JsonSchema =
      typeof value.$ref === "string" ? copy(resolvePointer(root, value.$ref), depth + 1) : {};
    for (const word of COPIED_KEYWORDS) {
      const copied = value[word];
      if (copied === undefined || !(IS_WELL_FORMED[word]?.(copied) ?? true)) continue;
      if (COUNTED_KEYWORDS.has(word)) budget.entriesLeft -= countValues(copied, budget.entriesLeft);
      if (budget.entriesLeft >= 0) schema[word] = copied;
    }
    const types = [value.type ?? []].flat().filter(isSchemaType);
    if (types.length > 0) schema.type = types.length === 1 ? (types[0] as string) : [...new Set(types)];
    for (const word of SCHEMA_KEYWORDS) {
      const inner = value[word];
      if (typeof inner === "boolean") schema[word] = inner;
      else if (inner !== undefined) schema[word] = copy(inner, depth + 1);
    }
    for (const word of SCHEMA_LIST_KEYWORDS) {
      const inner = value[word];
      if (Array.isArray(inner) && inner.length > 0) schema[word] = inner.map((each) => copy(each, depth + 1));
    }
    if (isObject(value.properties)) {
      const properties: JsonObject = {};
      for (const [name, inner] of Object.entries(value.properties))
        if (name !== "__proto__") properties[name] = copy(inner, depth + 1);
      schema.properties = properties;
    }
    return schema;
  }
}

/** Resolves a `$ref` within its own document (JSON Pointer); `undefined` for any other. */
export function resolvePointer(root: JsonSchema, ref: string): Json | undefined {
  if (!ref.startsWith("#")) return undefined;
  let target: Json | undefined = root;
  for (const part of ref.slice(1).split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    target = Array.isArray(target)
      ? target[Number(name)]
      : isObject(target) && Object.hasOwn(target, name)
        ? target[name]
        : undefined;
  }
  return target;
}
