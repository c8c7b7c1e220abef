import type { Context } from "hono";
import { parseJson } from "../../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { readJsonBody } from "../http/read-body.ts";

/** Recognises query parameters of the platform, which are not fields of the model. */
const isPlatformParameter = (name: string): boolean => name.startsWith("fal_") || name === "logs";

/**
 * Reads the input of a run: the JSON body, or with `GET` the query, as fal's clients send it (contract §1.3).
 * A query has only text, so values are read as the number, boolean, list or object of the schema. A value
 * that cannot be read stays a text, for the input check to refuse.
 *
 * Throws `body_too_large`, `request_body_timeout` or `body_not_json`.
 */
export async function readRunInput(c: Context, schema: JsonSchema, bytesMax: number): Promise<Json> {
  if (c.req.method !== "GET") return readJsonBody(c, bytesMax);
  const { properties = {} } = schema as { properties?: JsonObject };
  const input: JsonObject = {};
  for (const [name, values] of Object.entries(c.req.queries())) {
    if (isPlatformParameter(name)) continue;
    const types = typesOf(properties[name]);
    const [first = ""] = values;
    if (types.has("array") && (values.length > 1 || !first.trimStart().startsWith("["))) {
      const items = typesOf((properties[name] as { items?: Json }).items);
      input[name] = values.map((value) => readValue(value, items));
    } else input[name] = readValue(first, types);
  }
  return input;
}

/** Collects the JSON types that a schema allows, in any form that pydantic writes. */
function typesOf(schema: Json | undefined): Set<string> {
  if (!isObject(schema)) return new Set();
  const { type, anyOf, oneOf } = schema;
  const own = [type ?? []].flat().filter((name): name is string => typeof name === "string");
  const branches = [anyOf ?? [], oneOf ?? []].flat();
  return new Set([...own, ...branches.flatMap((branch) => [...typesOf(branch)])]);
}

const isType: Record<string, (value: Json) => boolean> = {
  integer: (value) => typeof value === "bigint" || Number.isInteger(value),
  number: (value) => typeof value === "bigint" || typeof value === "number",
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
  array: Array.isArray,
  object: isObject,
};

function readValue(text: string, types: Set<string>): Json {
  let value: Json;
  try {
    value = parseJson(text) as Json;
  } catch {
    return text;
  }
  for (const type of types) if (isType[type]?.(value)) return value;
  return text;
}
