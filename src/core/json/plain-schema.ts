/**
 * JSON Schemas whose author is not trusted, or whose parts are to stand alone: what is left is a tree of
 * bounded size with the words below and no references in it. What it leaves out is left open, so it accepts
 * at least what the whole schema does.
 */

import type { JsonSchema } from "../models/model.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";

/**
 * Words that are taken over as they stand. `pattern` is not: an expression of a caller's can hold up a
 * process for minutes.
 */
const KEPT = [
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
      (value: Json) => typeof value === "number",
    ]),
  ),
  ...Object.fromEntries(
    ["minLength", "maxLength", "minItems", "maxItems"].map((word) => [
      word,
      (value: Json) => Number.isInteger(value) && Number(value) >= 0,
    ]),
  ),
};

/** Words whose value is one schema, and those whose value is a list of them. */
const ONE = ["items", "additionalProperties"] as const;
const SEVERAL = ["anyOf", "oneOf", "allOf"] as const;

const TYPES = new Set(["string", "number", "integer", "boolean", "object", "array", "null"]);

export const isSchemaType = (word: unknown): word is string => typeof word === "string" && TYPES.has(word);

/** How many schemas may yet be taken over, those within others included. Below zero: some were left out. */
export interface SchemaBudget {
  left: number;
}

/** Deeper than this a schema says nothing more. */
const DEPTH_MAX = 24;

/**
 * @param root what its `$ref`s lead into
 * @param budget what is left of it afterwards; references that branch into themselves would grow without end
 */
export function plainSchema(raw: Json | undefined, root: JsonSchema, budget: SchemaBudget): JsonSchema {
  return copy(raw, 0);

  function copy(value: Json | undefined, depth: number): JsonSchema {
    budget.left -= 1;
    if (!isObject(value) || depth > DEPTH_MAX || budget.left < 0) return {};
    const schema: JsonSchema =
      typeof value.$ref === "string" ? copy(resolvePointer(root, value.$ref), depth + 1) : {};
    for (const word of KEPT) {
      const kept = value[word];
      if (kept !== undefined && (IS_WELL_FORMED[word]?.(kept) ?? true)) schema[word] = kept;
    }
    const types = [value.type ?? []].flat().filter(isSchemaType);
    if (types.length > 0) schema.type = types.length === 1 ? (types[0] as string) : [...new Set(types)];
    for (const word of ONE) {
      const inner = value[word];
      if (typeof inner === "boolean") schema[word] = inner;
      else if (inner !== undefined) schema[word] = copy(inner, depth + 1);
    }
    for (const word of SEVERAL) {
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

/** What a `$ref` within its own document leads to; `undefined` for any other. */
export function resolvePointer(root: JsonSchema, ref: string): Json | undefined {
  if (!ref.startsWith("#")) return undefined;
  let at: Json | undefined = root;
  for (const part of ref.slice(1).split("/").slice(1)) {
    const name = part.replaceAll("~1", "/").replaceAll("~0", "~");
    at = Array.isArray(at)
      ? at[Number(name)]
      : isObject(at) && Object.hasOwn(at, name)
        ? at[name]
        : undefined;
  }
  return at;
}
