/** Compares a public schema with what a runner acts on, and restricts the rest. */
import { writeJson } from "../../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import type { JsonSchema, Restriction } from "../../core/models/model.ts";
import { createSchemaCheck } from "../schema-check.ts";
import type { RunnerProfile } from "./runner-profile.ts";

export interface DerivedRestrictions {
  restrictions: Restriction[];
  /** Fields that have no effect, which the request's log notes. */
  noted: string[];
}

/** Fields that the platform itself acts on. */
const PLATFORM_FIELDS = ["sync_mode"];

/**
 * Restricts every field that the runner does not act on to its default, and every other one to what the
 * runner takes. Throws for an input that the runner can never take.
 */
export function deriveRestrictions(input: JsonSchema, profile: RunnerProfile): DerivedRestrictions {
  const fields = (isObject(input.properties) ? input.properties : {}) as Record<string, JsonObject>;
  const required = Array.isArray(input.required) ? input.required : [];
  const runner = `the runner ${profile.runner} of the engine ${profile.engine}`;
  const missing = profile.needs.filter((name) => !Object.hasOwn(fields, name));
  if (missing.length > 0)
    throw new Error(`${runner} needs ${missing.join(", ")}, which the public schema does not have`);
  const restrictions: Restriction[] = [];
  const noted: string[] = [];
  for (const [name, field] of Object.entries(fields)) {
    if (PLATFORM_FIELDS.includes(name)) continue;
    // A field may have the name of something that every object has.
    const known = [profile.reads, profile.notes].find((table) => Object.hasOwn(table, name))?.[name];
    if (known === undefined && required.includes(name))
      throw new Error(`${runner} does not read ${name}, which the public schema requires`);
    if (Object.hasOwn(profile.notes, name)) noted.push(name);
    const restriction = known ? limitOf(name, field, known) : unreadOf(name, field);
    if (restriction) restrictions.push(restriction);
    const fallback = isObject(field) ? field.default : undefined;
    if (restriction && fallback !== undefined && !accepts(restriction.accepts, fallback))
      throw new Error(`${runner} cannot do ${name}: ${writeJson(fallback)}, which is the field's default`);
  }
  return { restrictions, noted };
}

/** Restricts a field that the runner does not read. */
function unreadOf(field: string, schema: JsonObject): Restriction {
  const fallback = isObject(schema) ? schema.default : undefined;
  const because = `This version does not read \`${field}\``;
  if (fallback !== undefined) {
    const message = `${because}; leave it at ${writeJson(fallback)}.`;
    return { field, accepts: { const: fallback }, message };
  }
  const types = branchesOf(schema).flatMap(({ type }) => type ?? []);
  if (types.includes("boolean"))
    return { field, accepts: { enum: [false, null] }, message: `${because}; leave it at false.` };
  if (types.includes("array"))
    return { field, accepts: { maxItems: 0 }, message: `${because}; leave it empty.` };
  return { field, accepts: { type: "null" }, message: `${because}; leave it out.` };
}

/** Restricts a field to what the runner takes, unless the public schema allows no more than that. */
function limitOf(field: string, schema: JsonObject, taken: JsonObject): Restriction | undefined {
  const branches = branchesOf(schema).filter(({ type }) => type !== "null");
  if (Array.isArray(taken.enum)) {
    const isOpen = branches.some(({ enum: values }) => !Array.isArray(values));
    const offered = branches.flatMap(({ enum: values }) => (values ?? []) as Json[]);
    const shared = taken.enum.filter((value) => isOpen || offered.includes(value));
    if (!isOpen && offered.every((value) => value === null || shared.includes(value))) return undefined;
    const values = shared.map((value) => writeJson(value)).join(", ");
    const message = `This version takes ${values || "no value"} as \`${field}\`.`;
    return { field, accepts: { enum: isNullable(schema) ? [...shared, null] : shared }, message };
  }
  const bounds = Object.entries(taken).filter(([word]) => word in WITHIN);
  const exceeded = bounds.filter(([word, bound]) =>
    branches.some((branch) => !isWithin(branch, word, bound)),
  );
  if (taken.anyOf) return { field, accepts: taken, message: sizeMessage(field) };
  if (exceeded.length === 0) return undefined;
  return { field, accepts: taken, message: boundsMessage(field, taken) };
}

/** Words of a bound, with the words of a public schema that may hold it. */
const WITHIN: Record<string, readonly string[]> = {
  minimum: ["minimum", "exclusiveMinimum"],
  exclusiveMinimum: ["exclusiveMinimum", "minimum"],
  maximum: ["maximum", "exclusiveMaximum"],
  maxItems: ["maxItems"],
};

function isWithin(branch: JsonObject, word: string, bound: Json): boolean {
  const isLow = word.endsWith("inimum");
  return (WITHIN[word] ?? []).some((name) => {
    const own = branch[name];
    if (typeof own !== "number" || typeof bound !== "number") return false;
    if (word === "exclusiveMinimum" && name === "minimum") return own > bound;
    return isLow ? own >= bound : own <= bound;
  });
}

function boundsMessage(field: string, taken: JsonObject): string {
  if (taken.maxItems !== undefined)
    return `This version takes at most ${taken.maxItems} items of \`${field}\`.`;
  const low = taken.minimum === undefined ? undefined : `from ${taken.minimum}`;
  const above = taken.exclusiveMinimum === undefined ? undefined : `above ${taken.exclusiveMinimum}`;
  const high = taken.maximum === undefined ? undefined : `to ${taken.maximum}`;
  const range = [low ?? above, high].filter((part) => part !== undefined).join(" ");
  return `This version takes \`${field}\` ${range}.`;
}

const sizeMessage = (field: string): string =>
  `This version takes as \`${field}\` a size that fal names, or sides of 16 to 16384 pixels.`;

/** Gives a field's schema with the branches of its unions. */
function branchesOf(schema: JsonObject): JsonObject[] {
  if (!isObject(schema)) return [];
  const union = [schema.anyOf, schema.oneOf, schema.allOf].find(Array.isArray) as JsonObject[] | undefined;
  return union ? union.filter(isObject) : [schema];
}

const isNullable = (schema: JsonObject): boolean =>
  branchesOf(schema).some(({ type }) => type === "null" || (Array.isArray(type) && type.includes("null")));

const accepts = (schema: JsonObject, value: Json): boolean =>
  createSchemaCheck(schema, { every: false })(value) === undefined;
