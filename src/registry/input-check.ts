/**
 * Checks an input against its model version before anything is queued, and completes it: defaults are applied, a seed is
 * drawn when absent (so that a retry makes the same picture), unknown fields are set aside as fal does.
 */
import { randomInt } from "node:crypto";
import type { ErrorObject } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import * as formats from "ajv-formats";
import type { InputFault } from "../core/errors/tempera-error.ts";
import type { Json, JsonObject } from "../core/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { ModelVersion } from "../core/model.ts";

export type CheckedInput = { input: JsonObject; ignored: string[] } | { faults: InputFault[] };
export type InputCheck = (raw: Json) => CheckedInput;

/** torch's and fal's usual range: a seed fits an unsigned 32-bit integer. */
const SEED_MAX = 2 ** 32 - 1;

export function createInputCheck(model: Pick<ModelVersion, "schemas" | "restrictions">): InputCheck {
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, strict: false, verbose: true });
  formats.default.default(ajv);
  const validate = ajv.compile(model.schemas.input);
  const restrictions = model.restrictions.map((restriction) => ({ ...restriction, validate: ajv.compile(restriction.accepts) }));
  const properties = (model.schemas.input.properties ?? {}) as JsonObject;
  const open = model.schemas.input.additionalProperties === true;
  const seed = properties.seed as JsonObject | undefined;

  return (raw) => {
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
      return { faults: [{ loc: ["body"], msg: "Input should be a valid dictionary or object to extract fields from", type: "model_attributes_type" }] };
    }
    const unusable = unusableText(raw, ["body"]);
    if (unusable) return { faults: [unusable] };

    const ignored = open ? [] : Object.keys(raw).filter((name) => !Object.hasOwn(properties, name));
    const input = structuredClone(raw);
    for (const name of ignored) delete input[name];
    if (!validate(input)) return { faults: inputFaults(validate.errors ?? []) };

    const refused = restrictions.filter(({ field, validate: accepts }) => input[field] !== undefined && !accepts(input[field]));
    if (refused.length > 0) {
      return { faults: refused.map(({ field, says }) => ({ loc: ["body", field], msg: says, type: "feature_not_supported" })) };
    }
    if (seed && (input.seed === undefined || input.seed === null)) {
      const low = typeof seed.minimum === "number" ? seed.minimum : 0;
      const high = typeof seed.maximum === "number" ? seed.maximum : SEED_MAX;
      input.seed = randomInt(low, Math.min(high, low + SEED_MAX) + 1);
    }
    return { input, ignored };
  };
}

/**
 * Text that no store and no tokenizer can hold: NUL characters and halves of surrogate pairs. Also refuses what is nested
 * deeper than anything should walk. Iterative in spirit: the depth bound comes first.
 */
function unusableText(value: Json, loc: (string | number)[]): InputFault | undefined {
  if (loc.length > LIMITS.inputDepthMax) return { loc: loc.slice(0, 8), msg: `Input is nested deeper than ${LIMITS.inputDepthMax} levels`, type: "recursion_loop" };
  if (typeof value === "string") {
    if (value.includes("\u0000")) return { loc, msg: "Value error, text must not contain NUL characters", type: "value_error" };
    if (!value.isWellFormed()) return { loc, msg: "Value error, text must be valid Unicode (a lone surrogate was found)", type: "value_error" };
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const at = [...loc, Array.isArray(value) ? Number(key) : key];
    const fault = (Array.isArray(value) ? undefined : unusableText(key, loc)) ?? unusableText(item, at);
    if (fault) return fault;
  }
  return undefined;
}

const TYPE_NAMES: Record<string, [type: string, says: string]> = {
  string: ["string_type", "Input should be a valid string"],
  integer: ["int_type", "Input should be a valid integer"],
  number: ["float_type", "Input should be a valid number"],
  boolean: ["bool_type", "Input should be a valid boolean"],
  array: ["list_type", "Input should be a valid list"],
  object: ["dict_type", "Input should be a valid dictionary"],
  null: ["none_required", "Input should be None"],
};

/** Ajv's errors in fal's words (contract §7.1). Errors of the branches of an `anyOf` are folded into the branch meant. */
function inputFaults(errors: ErrorObject[]): InputFault[] {
  const unions = errors.filter(({ keyword }) => keyword === "anyOf" || keyword === "oneOf");
  const faults: InputFault[] = [];
  for (const error of errors) {
    const union = unions.find(({ schemaPath }) => error.schemaPath !== schemaPath && error.schemaPath.startsWith(schemaPath));
    if (union) continue;
    faults.push(error.keyword === "anyOf" || error.keyword === "oneOf" ? unionFault(error, errors) : fault(error));
  }
  const seen = new Set<string>();
  return faults.filter((item) => {
    const key = JSON.stringify([item.loc, item.type]);
    return seen.has(key) ? false : seen.add(key);
  });
}

const location = (error: ErrorObject): (string | number)[] => [
  "body",
  ...error.instancePath
    .split("/")
    .slice(1)
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"))
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part)),
];

/** Of a union, the branch whose type fits the value is the one the caller meant; without one, all branches are named. */
function unionFault(error: ErrorObject, all: ErrorObject[]): InputFault {
  const inner = all.filter(({ schemaPath }) => schemaPath !== error.schemaPath && schemaPath.startsWith(error.schemaPath));
  const branch = ({ schemaPath }: ErrorObject): string => schemaPath.slice(error.schemaPath.length).split("/")[1] ?? "";
  const mistyped = new Set(inner.filter(({ keyword, instancePath }) => keyword === "type" && instancePath === error.instancePath).map(branch));
  const meant = inner.filter((item) => !mistyped.has(branch(item)));
  const first = meant[0];
  if (first) return fault(first);
  const expected = inner.filter(({ keyword }) => keyword === "type").map(({ params }) => String(params.type));
  return { loc: location(error), msg: `Input should be one of: ${expected.join(", ")}`, type: "value_error" };
}

function fault(error: ErrorObject): InputFault {
  const loc = location(error);
  const { params } = error;
  switch (error.keyword) {
    case "required":
      return { loc: [...loc, params.missingProperty], msg: "Field required", type: "missing" };
    case "type": {
      const wanted = ([] as string[]).concat(params.type).find((type) => type !== "null") ?? "null";
      if (wanted === "integer" && typeof error.data === "number") {
        return { loc, msg: "Input should be a valid integer, got a number with a fractional part", type: "int_from_float" };
      }
      const [type, msg] = TYPE_NAMES[wanted] ?? ["value_error", error.message ?? "Input has the wrong type"];
      return { loc, msg, type };
    }
    case "minimum":
      return { loc, msg: `Input should be greater than or equal to ${params.limit}`, type: "greater_than_equal", ctx: { ge: params.limit } };
    case "maximum":
      return { loc, msg: `Input should be less than or equal to ${params.limit}`, type: "less_than_equal", ctx: { le: params.limit } };
    case "exclusiveMinimum":
      return { loc, msg: `Input should be greater than ${params.limit}`, type: "greater_than", ctx: { gt: params.limit } };
    case "exclusiveMaximum":
      return { loc, msg: `Input should be less than ${params.limit}`, type: "less_than", ctx: { lt: params.limit } };
    case "multipleOf":
      return { loc, msg: `Input should be a multiple of ${params.multipleOf}`, type: "multiple_of", ctx: { multiple_of: params.multipleOf } };
    case "minLength":
    case "minItems":
      return { loc, msg: `Input should have at least ${params.limit} ${error.keyword === "minLength" ? "characters" : "items"}`, type: "sequence_too_short", ctx: { min_length: params.limit } };
    case "maxLength":
    case "maxItems":
      return { loc, msg: `Input should have at most ${params.limit} ${error.keyword === "maxLength" ? "characters" : "items"}`, type: "sequence_too_long", ctx: { max_length: params.limit } };
    case "enum":
    case "const": {
      const allowed: unknown[] = params.allowedValues ?? [params.allowedValue];
      const expected = allowed.map((value) => `'${String(value)}'`).join(", ");
      return { loc, msg: `Input should be ${expected}`, type: "one_of", ctx: { expected: allowed } };
    }
    case "format":
      return { loc, msg: `Input should be a valid ${params.format}`, type: "value_error" };
    case "pattern":
      return { loc, msg: `String should match pattern '${params.pattern}'`, type: "string_pattern_mismatch", ctx: { pattern: params.pattern } };
    default:
      return { loc, msg: `Value error, ${error.message ?? "the value is not allowed"}`, type: "value_error" };
  }
}
