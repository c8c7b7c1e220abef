/**
 * Types of values as JSON Schemas describe them: used to follow references, and to decide whether the output
 * of one node can ever be the input of another. Wherever a schema leaves a type open, the answer is yes.
 */
import { writeJson } from "../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import { resolvePointer } from "../core/json/plain-schema.ts";
import type { JsonSchema } from "../core/models/model.ts";

/** A schema, and the document that its `$ref`s point into. */
export interface ValueType {
  schema: Json;
  root: JsonSchema;
}

/** One alternative of a type, without references and unions. */
interface Form {
  types: string[];
  schema: JsonObject;
}

/**
 * A type with more forms than this, or deeper references, counts as open: the schemas of callers must not
 * cost arbitrary time.
 */
const FORMS_MAX = 64;
const REFERENCES_DEEP_MAX = 16;

/** Fields and items are compared this deep. */
const COMPARED_DEEP_MAX = 4;

/** Comparisons for one `canFeed`; after these the answer is yes. */
const COMPARISONS_MAX = 2_000;

/** Lists the alternatives of a type; `undefined` when it is open. */
function formsOf({ schema, root }: ValueType): Form[] | undefined {
  const forms: Form[] = [];
  return collect(schema, 0) ? forms : undefined;

  /** Adds the forms of a schema. False when it is open. */
  function collect(part: Json | undefined, depth: number): boolean {
    if (!isObject(part) || depth > REFERENCES_DEEP_MAX || forms.length > FORMS_MAX) return false;
    const types = typesOf(part);
    if (types.length > 0) return forms.push({ types, schema: part }) > 0;
    if (typeof part.$ref === "string") return collect(resolvePointer(root, part.$ref), depth + 1);
    const union = part.anyOf ?? part.oneOf;
    if (Array.isArray(union)) return union.length > 0 && union.every((each) => collect(each, depth + 1));
    if (Array.isArray(part.allOf) && part.allOf.length === 1) return collect(part.allOf[0], depth + 1);
    return false;
  }
}

function typesOf({ type, enum: values, const: value, properties, items }: JsonObject): string[] {
  if (type !== undefined) return [type].flat().filter((each) => typeof each === "string");
  if (Array.isArray(values)) return [...new Set(values.map(typeOf))];
  if (value !== undefined) return [typeOf(value)];
  if (isObject(properties)) return ["object"];
  return items === undefined ? [] : ["array"];
}

function typeOf(value: Json): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "bigint") return "integer";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value;
}

/** Gives the type of a value, without the types of its fields or items. */
export function typeOfValue(value: Json): ValueType {
  return { schema: { type: typeOf(value) }, root: {} };
}

/** Gives the type of an object's field or a list's item; `undefined` when there can be none. */
export function typeWithin(type: ValueType, part: string | number): ValueType | undefined {
  const forms = formsOf(type);
  if (!forms) return { schema: true, root: {} };
  const found = forms.flatMap((form) =>
    typeof part === "number" ? itemOf(form, part) : fieldOf(form, part),
  );
  if (found.length === 0) return undefined;
  return { schema: found.length === 1 ? (found[0] as Json) : { anyOf: found }, root: type.root };
}

function itemOf({ types, schema }: Form, index: number): Json[] {
  if (!types.includes("array")) return [];
  if (typeof schema.maxItems === "number" && index >= schema.maxItems) return [];
  const own = Array.isArray(schema.prefixItems) ? schema.prefixItems[index] : undefined;
  const item = own ?? schema.items ?? true;
  return item === false ? [] : [item];
}

/** A schema that lists fields and does not mention others has no others: models' outputs are written so. */
function fieldOf({ types, schema }: Form, name: string): Json[] {
  if (!types.includes("object")) return [];
  const { properties, additionalProperties, patternProperties } = schema;
  if (isObject(properties) && Object.hasOwn(properties, name)) return [properties[name] as Json];
  if (patternProperties !== undefined) return [true];
  if (additionalProperties === undefined)
    return isObject(properties) && Object.keys(properties).length > 0 ? [] : [true];
  return additionalProperties === false ? [] : [additionalProperties];
}

/** Tells whether a value of one type can ever be accepted where the other is expected. */
export function canFeed(source: ValueType, target: ValueType): boolean {
  let left = COMPARISONS_MAX;
  return fits(source, target, 0);

  function fits(from: ValueType, into: ValueType, depth: number): boolean {
    if (depth > COMPARED_DEEP_MAX) return true;
    const given = withoutNull(formsOf(from));
    const wanted = withoutNull(formsOf(into));
    if (!given || !wanted) return true;
    return given.some((form) => wanted.some((other) => formFits(form, other, { from, into, depth })));
  }

  function formFits(
    form: Form,
    other: Form,
    { from, into, depth }: { from: ValueType; into: ValueType; depth: number },
  ): boolean {
    left -= 1;
    if (left < 0) return true;
    if (!sameValues(form.schema, other.schema)) return false;
    return form.types.some((type) => {
      if (!other.types.some((each) => each === type || (isNumber(each) && isNumber(type)))) return false;
      if (type === "array") {
        const inside = (list: Form, root: JsonSchema): ValueType => ({
          schema: list.schema.items ?? true,
          root,
        });
        return fits(inside(form, from.root), inside(other, into.root), depth + 1);
      }
      return type !== "object" || objectFits(form, other, { from, into, depth });
    });
  }

  function objectFits(
    form: Form,
    other: Form,
    { from, into, depth }: { from: ValueType; into: ValueType; depth: number },
  ): boolean {
    const within = (object: Form, root: JsonSchema, name: string) =>
      typeWithin({ schema: object.schema, root }, name);
    const required = Array.isArray(other.schema.required) ? other.schema.required : [];
    if (required.some((name) => typeof name === "string" && !within(form, from.root, name))) return false;
    return required.every((name) => {
      if (typeof name !== "string") return true;
      const given = within(form, from.root, name);
      const wanted = within(other, into.root, name);
      return !given || !wanted || fits(given, wanted, depth + 1);
    });
  }
}

/**
 * Removes `null` unless it is the only alternative: a field that is absent in one run may be set in another.
 */
function withoutNull(forms: Form[] | undefined): Form[] | undefined {
  if (!forms) return undefined;
  const rest = forms
    .map((form) => ({
      ...form,
      types: form.types.length > 1 ? form.types.filter((type) => type !== "null") : form.types,
    }))
    .filter(({ types }) => types[0] !== "null");
  return rest.length > 0 ? rest : forms;
}

/** False when both list their values and have none in common. */
function sameValues(a: JsonObject, b: JsonObject): boolean {
  const [given, wanted] = [valuesOf(a), valuesOf(b)];
  return !given || !wanted || given.some((value) => wanted.includes(value));
}

function valuesOf({ enum: values, const: value }: JsonObject): string[] | undefined {
  if (Array.isArray(values)) return values.map((each) => writeJson(each));
  return value === undefined ? undefined : [writeJson(value)];
}

const isNumber = (type: string): boolean => type === "number" || type === "integer";

const NAMES: Record<string, string> = {
  string: "a string",
  number: "a number",
  integer: "an integer",
  boolean: "a boolean",
  null: "null",
  object: "an object",
  array: "a list",
};

/** Words a type for an error sentence: `a string`, `a list of objects`, `a string or null`. */
export function typeInWords(type: ValueType): string {
  const forms = formsOf(type);
  if (!forms) return "any value";
  const words = forms.flatMap(({ types, schema }) =>
    types.map((each) => {
      if (each !== "array" || schema.items === undefined) return NAMES[each] ?? each;
      const inside = formsOf({ schema: schema.items, root: type.root });
      const only = inside?.length === 1 ? inside[0]?.types[0] : undefined;
      return only && only !== "null" && only !== "array" ? `a list of ${only}s` : "a list";
    }),
  );
  return [...new Set(words)].join(" or ");
}
