/**
 * Checks an input against its model version before anything is queued, and completes it: scalars of another
 * type are coerced (`lax-coercion.ts`), defaults are applied, an absent seed is drawn (so that a retry makes
 * the same image), and unknown fields are left out, as at fal.
 */
import { randomInt } from "node:crypto";
import type { InputFault } from "../core/errors/tempera-error.ts";
import { readInteger } from "../core/json/exact-json.ts";
import { copyJson, isObject, type Json, type JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { ModelVersion } from "../core/models/model.ts";
import { createCoercer } from "./lax-coercion.ts";
import type { Coercion } from "./lax-values.ts";
import { missingField } from "./missing-field.ts";
import { createSchemaCheck, type SchemaCheck } from "./schema-check.ts";

/** The completed input with the names of the fields that were left out, or the faults. */
export type CheckedInput = { input: JsonObject; ignored: string[] } | { faults: InputFault[] };
/** Draws an integer between two bounds, both included. */
export type DrawSeed = (low: number, high: number) => number;

/**
 * Checks and completes an input. The raw input is not changed.
 *
 * @param draw draws an absent seed, by default at random
 */
export type InputCheck = ((raw: Json, draw?: DrawSeed) => CheckedInput) & {
  /** Gives an input with its scalars coerced, before it is checked: two spellings of an input are one. */
  coerced?: (raw: Json) => Json;
};

/** The check of a route: that of a saved pipeline runs in another thread (`schema-thread/`). */
export type RouteCheck = ((raw: Json) => CheckedInput | Promise<CheckedInput>) & {
  coerced?: (raw: Json) => Json | Promise<Json>;
};

const drawRandomly: DrawSeed = (low, high) => randomInt(low, high + 1);

/**
 * Compiles the check of a version's inputs.
 *
 * @param coercion `lax`, the default, reads "42" as a number where the schema wants one; `strict` refuses it
 */
export function createInputCheck(
  { schemas, restrictions }: Pick<ModelVersion, "schemas" | "restrictions">,
  { coercion = "lax" }: { coercion?: Coercion | undefined } = {},
): InputCheck {
  const { properties = {}, additionalProperties = false } = schemas.input as {
    properties?: JsonObject;
    additionalProperties?: Json;
  };
  // Most inputs fit, and a huge one must not get a huge list as its answer. So the check that stops at the
  // first fault runs first.
  const firstFault = createSchemaCheck(schemas.input, { every: false, coercion });
  let everyFault: SchemaCheck | undefined;
  const coerce = coercion === "lax" ? createCoercer(schemas.input) : undefined;
  const accepts = restrictions.map((restriction) => ({
    ...restriction,
    check: createSchemaCheck(restriction.accepts, { every: false }),
  }));
  const seed = Object.hasOwn(properties, "seed") ? seedRange(properties.seed as JsonObject) : undefined;

  const check: InputCheck = (raw, draw = drawRandomly) => {
    if (!isObject(raw)) {
      const msg = "Input should be a valid dictionary or object to extract fields from";
      return { faults: [{ loc: ["body"], msg, type: "model_attributes_type" }] };
    }
    const walk: Walk = { loc: ["body"], values: 0 };
    const unusable = unusableValue(raw, walk);
    if (unusable) return { faults: [unusable] };

    const isKnown = (name: string): boolean =>
      additionalProperties !== false || Object.hasOwn(properties, name);
    const names = Object.keys(raw);
    const ignored = names.filter((name) => !isKnown(name));
    const input = copyJson(
      ignored.length === 0 ? raw : Object.fromEntries(Object.entries(raw).filter(([name]) => isKnown(name))),
    );

    coerce?.(input);
    const faults = firstFault(input);
    if (faults) {
      const isExplained = walk.values <= LIMITS.inputValuesExplainedMax;
      if (isExplained) everyFault ??= createSchemaCheck(schemas.input, { every: true, coercion });
      const all = (isExplained ? everyFault?.(input) : undefined) ?? faults;
      return { faults: all.slice(0, LIMITS.inputFaultsMax).map((fault) => nameMisspelt(fault, ignored)) };
    }
    const refused = accepts.filter(({ field, check }) => input[field] !== undefined && check(input[field]));
    if (refused.length > 0) {
      return {
        faults: refused.map(({ field, message }) => ({
          loc: ["body", field],
          msg: message,
          type: "feature_not_supported",
        })),
      };
    }
    if (seed && (input.seed === undefined || input.seed === null)) input.seed = drawWithin(seed, draw);
    return { input, ignored };
  };
  if (coerce)
    check.coerced = (raw) =>
      isObject(raw) && !unusableValue(raw, { loc: ["body"], values: 0 }) ? coerce(copyJson(raw)) : raw;
  return check;
}

/** Names the left-out field that is probably meant for a missing one, if the fault is that. */
function nameMisspelt(fault: InputFault, ignored: string[]): InputFault {
  const { loc, type } = fault;
  const isMissing = type === "missing" && loc.length === 2 && ignored.length > 0;
  return isMissing ? missingField(["body"], String(loc[1]), ignored) : fault;
}

/** The usual range of torch and fal: a seed fits an unsigned 32-bit integer. */
const SEED_MAX = 2 ** 32 - 1;

interface SeedRange {
  low: number | bigint;
  /** The highest seed is this much above `low`. */
  width: number;
}

/**
 * Finds the range from which a seed is drawn: the field's own bounds, wherever pydantic wrote them.
 * `undefined` when the field is not an integer.
 */
function seedRange(field: JsonObject): SeedRange | undefined {
  const branches = [field, ...((field.anyOf ?? field.oneOf ?? []) as JsonObject[])];
  const integer = branches.find(({ type }) =>
    Array.isArray(type) ? type.includes("integer") : type === "integer",
  );
  if (!integer) return undefined;
  const low = boundOf(integer.minimum) ?? 0;
  const high = boundOf(integer.maximum);
  const width = high === undefined ? SEED_MAX : Number(BigInt(high) - BigInt(low));
  return { low, width: Math.min(width, SEED_MAX) };
}

function boundOf(bound: Json | undefined): number | bigint | undefined {
  if (typeof bound === "bigint") return bound;
  if (typeof bound !== "number" || !Number.isInteger(bound)) return undefined;
  return Number.isSafeInteger(bound) ? bound : BigInt(bound);
}

function drawWithin({ low, width }: SeedRange, draw: DrawSeed): number | bigint {
  if (typeof low === "number") return draw(low, low + width);
  return readInteger(String(low + BigInt(draw(0, width)))) as number | bigint;
}

interface Walk {
  /** The location of the current value. */
  loc: (string | number)[];
  /** The number of values walked. */
  values: number;
}

/**
 * Finds text that no store and no tokenizer accepts (NUL characters and halves of surrogate pairs, in values
 * and in field names), and nesting deeper than `LIMITS.inputDepthMax`.
 */
function unusableValue(value: Json, walk: Walk): InputFault | undefined {
  walk.values += 1;
  if (typeof value === "string") return unusableText(value, walk);
  if (typeof value !== "object" || value === null) return undefined;
  if (walk.loc.length > LIMITS.inputDepthMax) {
    return {
      loc: walk.loc.slice(0, 8),
      msg: `Input is nested deeper than ${LIMITS.inputDepthMax} levels`,
      type: "recursion_loop",
    };
  }
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      walk.loc.push(index);
      const fault = unusableValue(value[index] as Json, walk);
      if (fault) return fault;
      walk.loc.pop();
    }
    return undefined;
  }
  for (const name of Object.keys(value)) {
    const fault = unusableText(name, walk);
    if (fault) return fault;
    walk.loc.push(name);
    const inside = unusableValue(value[name] as Json, walk);
    if (inside) return inside;
    walk.loc.pop();
  }
  return undefined;
}

function unusableText(text: string, { loc }: Walk): InputFault | undefined {
  if (text.includes("\u0000"))
    return { loc: [...loc], msg: "Value error, text must not contain NUL characters", type: "value_error" };
  if (text.isWellFormed()) return undefined;
  return {
    loc: [...loc],
    msg: "Value error, text must be valid Unicode (a lone surrogate was found)",
    type: "value_error",
  };
}
