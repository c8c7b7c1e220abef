/**
 * Coerces the scalars of an input as pydantic does in its lax mode, with which fal's apps read theirs: "42"
 * for an integer, "off" for a boolean. A value that fits its schema is never changed, but for an empty
 * address where the schema allows null; one that cannot be coerced is left for the check of the schema to
 * refuse.
 */
import { stripUrl } from "../core/files/input-file.ts";
import { isLargeNumber } from "../core/json/exact-json.ts";
import { copyJson, isObject, type Json, type JsonObject } from "../core/json/json.ts";
import type { JsonSchema } from "../core/models/model.ts";
import { readLax } from "./lax-values.ts";
import { createSchemaCompiler, partSchema, type SchemaCheck } from "./schema-check.ts";

/** Coerces a value for the schema that it was made for. Objects and lists are changed in place. */
export type Coerce = (value: Json) => Json;

/** Refuses to follow references deeper, so that a schema that refers to itself ends. */
const DEPTH_MAX = 64;

export function createCoercer(root: JsonSchema): Coerce {
  /** Each branch of a union is compiled when a value first reaches it. */
  const checks = new Map<JsonSchema, SchemaCheck>();
  const compile = createSchemaCompiler({ every: false });
  const fits = (branch: JsonSchema, value: Json): boolean => {
    const check = checks.get(branch) ?? compile(partSchema(root, branch));
    checks.set(branch, check);
    // A check fills in defaults, so it gets a copy.
    return check(copyJson(value)) === undefined;
  };

  const coerce = (value: Json, schema: Json | undefined, depth: number): Json => {
    if (!isObject(schema) || depth > DEPTH_MAX) return value;
    let result = value;
    if (typeof schema.$ref === "string")
      result = coerce(result, followReference(root, schema.$ref), depth + 1);
    for (const part of listOf(schema.allOf)) result = coerce(result, part, depth + 1);
    const branches = listOf(schema.anyOf ?? schema.oneOf);
    if (branches.length > 0) result = coerceUnion(result, branches, depth + 1);
    if (Array.isArray(result)) coerceItems(result, schema);
    else if (isObject(result)) coerceFields(result, schema);
    else result = coerceScalar(result, typesOf(schema));
    return result;
  };

  const coerceItems = (list: Json[], { items, prefixItems }: JsonObject): void => {
    const first = listOf(prefixItems);
    if (first.length === 0 && !isObject(items)) return;
    for (const [index, item] of list.entries()) list[index] = coerce(item, first[index] ?? items, 0);
  };

  const coerceField = (name: string, value: Json, field: Json | undefined): Json =>
    isEmptyUrl(name, value) && isObject(field) && fits(field, null) ? null : coerce(value, field, 0);

  const coerceFields = (object: JsonObject, schema: JsonObject): void => {
    const properties = isObject(schema.properties) ? schema.properties : {};
    if (!isObject(schema.additionalProperties)) {
      for (const [name, field] of Object.entries(properties))
        if (Object.hasOwn(object, name)) object[name] = coerceField(name, object[name] as Json, field);
      return;
    }
    for (const [name, value] of Object.entries(object)) {
      const field = Object.hasOwn(properties, name) ? properties[name] : schema.additionalProperties;
      object[name] = coerceField(name, value, field);
    }
  };

  /** Takes the value as it is when a branch accepts it, else as the first branch that can coerce it does. */
  const coerceUnion = (value: Json, branches: JsonSchema[], depth: number): Json => {
    if (value === null || branches.some((branch) => fits(branch, value))) return value;
    const tried: Json[] = [];
    for (const branch of branches) {
      const candidate = coerce(copyJson(value), branch, depth);
      if (fits(branch, candidate)) return candidate;
      if (typeof value === "object" && kindFits(branch, value, root)) tried.push(candidate);
    }
    // With one branch for objects or lists, only what cannot be coerced is to be named as a fault.
    return tried.length === 1 ? (tried[0] as Json) : value;
  };

  return (value) => coerce(value, root, 0);
}

/** Tells whether a field for an address was left empty: tools without code send "" for what was not given. */
const isEmptyUrl = (name: string, value: Json): boolean =>
  typeof value === "string" && name.endsWith("_url") && stripUrl(value) === "";

const listOf = (value: Json | undefined): JsonObject[] =>
  Array.isArray(value) ? (value.filter(isObject) as JsonObject[]) : [];

const typesOf = ({ type }: JsonObject): string[] =>
  (Array.isArray(type) ? type : [type]).filter((name): name is string => typeof name === "string");

/** Tells whether a branch describes the same kind of value: an object or a list. */
function kindFits(branch: JsonSchema, value: Json, root: JsonSchema): boolean {
  const schema = typeof branch.$ref === "string" ? followReference(root, branch.$ref) : branch;
  return isObject(schema) && typesOf(schema).includes(Array.isArray(value) ? "array" : "object");
}

/** Follows a reference within a document: `#/$defs/Size`. */
function followReference(root: JsonSchema, reference: string): Json | undefined {
  if (reference !== "#" && !reference.startsWith("#/")) return undefined;
  let found: Json | undefined = root as JsonObject;
  for (const part of reference.split("/").slice(1)) {
    const name = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, name)) return undefined;
    found = (found as JsonObject)[name];
  }
  return found;
}

/** Coerces a scalar to the first of the types that it can be read as, unless it already has one of them. */
function coerceScalar(value: Json, types: string[]): Json {
  // A double that is an integer, written as one: another program would read the shortest decimal of it.
  if (types.includes("integer") && Number.isInteger(value) && isLargeNumber(value))
    return BigInt(value as number);
  if (types.length === 0 || value === null || types.some((type) => hasType(value, type))) return value;
  for (const type of types) {
    const read = readLax(value, type);
    if (read !== undefined) return read;
  }
  return value;
}

const hasType = (value: Json, type: string): boolean =>
  type === "integer"
    ? Number.isInteger(value) || typeof value === "bigint"
    : typeof value === type || (type === "number" && typeof value === "bigint");
