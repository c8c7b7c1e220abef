/**
 * JSON Schema's keywords for numbers, for values and schemas with large integers (`exact-json.ts`): a
 * validator that knows only doubles refuses such values, or rounds the bounds. `exactSchema` renames the
 * keywords that a validator has built in; the others take the place of its own.
 */
import { hasLargeNumber } from "./exact-json.ts";
import { canonicalJson } from "./input-hash.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";

/** The name of a keyword as users know it, and a check: `undefined`, or what the value breaks. */
interface ExactKeyword {
  name: string;
  check: (wanted: never, value: Json) => Record<string, unknown> | undefined;
}

type Numeric = number | bigint;

const isNumeric = (value: Json): value is Numeric => typeof value === "number" || typeof value === "bigint";

/** JSON has no infinite numbers; that is the fault of its type alone. */
const isInfinite = (value: Numeric): boolean => typeof value === "number" && !Number.isFinite(value);

function bound(name: string, holds: (value: Numeric, limit: Numeric) => boolean): ExactKeyword {
  const check = (limit: Numeric, value: Json) =>
    isNumeric(value) && !isInfinite(value) && !holds(value, limit) ? { limit } : undefined;
  return { name, check };
}

/** JavaScript compares a `bigint` with a number exactly. */
export const EXACT_KEYWORDS: Record<string, ExactKeyword> = {
  exactType: {
    name: "type",
    check: (types: string | string[], value) =>
      [types].flat().some((type) => hasType(value, type)) ? undefined : { type: types },
  },
  exactFormat: {
    name: "format",
    check: (format: string, value) =>
      typeof value === "bigint" && !fitsFormat(value, format) ? { format } : undefined,
  },
  minimum: bound("minimum", (value, limit) => value >= limit),
  maximum: bound("maximum", (value, limit) => value <= limit),
  exclusiveMinimum: bound("exclusiveMinimum", (value, limit) => value > limit),
  exclusiveMaximum: bound("exclusiveMaximum", (value, limit) => value < limit),
  multipleOf: {
    name: "multipleOf",
    check: (multipleOf: Numeric, value) =>
      isNumeric(value) && !isInfinite(value) && !isMultiple(value, multipleOf) ? { multipleOf } : undefined,
  },
  enum: {
    name: "enum",
    check: (allowedValues: Json[], value) =>
      allowedValues.some((allowed) => isEqual(allowed, value)) ? undefined : { allowedValues },
  },
  const: {
    name: "const",
    check: (allowedValue: Json, value) => (isEqual(allowedValue, value) ? undefined : { allowedValue }),
  },
};

const isEqual = (a: Json, b: Json): boolean => canonicalJson(a) === canonicalJson(b);

function hasType(value: Json, type: string): boolean {
  if (type === "null") return value === null;
  if (type === "array") return Array.isArray(value);
  if (type === "object") return isObject(value);
  if (type === "integer") return typeof value === "bigint" || Number.isInteger(value);
  if (type === "number") return isNumeric(value) && Number.isFinite(Number(value));
  return typeof value === type;
}

function fitsFormat(value: bigint, format: string): boolean {
  if (format === "int32") return BigInt.asIntN(32, value) === value;
  if (format === "int64") return BigInt.asIntN(64, value) === value;
  return true;
}

function isMultiple(value: Numeric, of: Numeric): boolean {
  if (Number.isInteger(Number(of)) && Number.isInteger(Number(value)))
    return BigInt(value) % BigInt(of) === 0n;
  return Number.isInteger(Number(value) / Number(of));
}

/** Keywords whose value is an object of schemas by name. */
const BY_NAME = new Set([
  "properties",
  "patternProperties",
  "$defs",
  "definitions",
  "dependentSchemas",
  "dependencies",
  "schemas",
]);
/** Keywords whose value is no schema. */
const PLAIN = new Set([
  "default",
  "examples",
  "example",
  "enum",
  "const",
  "required",
  "dependentRequired",
  "discriminator",
  "$vocabulary",
]);

/**
 * Copies a schema with the keywords of `EXACT_KEYWORDS`. Defaults with large integers become the keyword
 * `exactDefaults` of the object that they belong to: `fillDefaults` applies them.
 */
export function exactSchema(schema: JsonObject): JsonObject {
  const made: JsonObject = {};
  for (const [word, value] of Object.entries(schema)) {
    if (word === "type") made.exactType = schema.nullable === true ? [value, "null"].flat() : value;
    else if (BY_NAME.has(word) && isObject(value)) made[word] = eachSchema(value);
    else if (word === "default" && hasLargeNumber(value)) continue;
    else if (word !== "nullable") made[word] = PLAIN.has(word) ? value : exactPart(value);
  }
  if (typeof schema.format === "string") made.exactFormat = schema.format;
  const defaults = largeDefaults(schema.properties);
  if (defaults) made.exactDefaults = defaults;
  return made;
}

const eachSchema = (schemas: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, exactPart(schema)]));

function exactPart(value: Json): Json {
  if (Array.isArray(value)) return value.map(exactPart);
  return isObject(value) ? exactSchema(value) : value;
}

function largeDefaults(properties: Json | undefined): JsonObject | undefined {
  if (!isObject(properties)) return undefined;
  const found = Object.entries(properties).flatMap(([name, schema]) =>
    isObject(schema) && schema.default !== undefined && hasLargeNumber(schema.default)
      ? [[name, schema.default] as const]
      : [],
  );
  return found.length > 0 ? Object.fromEntries(found) : undefined;
}

/** Sets the fields that an object lacks. */
export function fillDefaults(defaults: JsonObject, value: Json): void {
  if (!isObject(value)) return;
  for (const [name, fallback] of Object.entries(defaults))
    if (value[name] === undefined) value[name] = structuredClone(fallback);
}
