/**
 * Checks an input against its model version before anything is queued, and completes it: defaults are applied, a seed is
 * drawn when absent (so that a retry makes the same picture), unknown fields are set aside as fal does.
 */
import { randomInt } from "node:crypto";
import type { ErrorObject, ValidateFunction } from "ajv";
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

  /** Each branch of a union is compiled when a value first fails all of them. */
  const branchChecks = new Map<JsonObject, ValidateFunction>();
  const branchFaults: Parameters<typeof inputFaults>[1] = (schema, data, loc) => {
    const check = branchChecks.get(schema) ?? ajv.compile({ $defs: model.schemas.input.$defs ?? {}, ...schema });
    branchChecks.set(schema, check);
    check(data);
    return inputFaults(check.errors ?? [], branchFaults).map((item) => ({ ...item, loc: [...loc, ...item.loc.slice(1)] }));
  };

  return (raw) => {
    if (typeof raw !== "object" || raw === null || Array.isArray(raw)) {
      return { faults: [{ loc: ["body"], msg: "Input should be a valid dictionary or object to extract fields from", type: "model_attributes_type" }] };
    }
    const unusable = unusableText(raw, ["body"]);
    if (unusable) return { faults: [unusable] };

    const ignored = open ? [] : Object.keys(raw).filter((name) => !Object.hasOwn(properties, name));
    const input = structuredClone(raw);
    for (const name of ignored) delete input[name];
    if (!validate(input)) return { faults: inputFaults(validate.errors ?? [], branchFaults) };

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

/** The fault types that say "not this branch of the union at all". */
const MISTYPED = new Set([...Object.values(TYPE_NAMES).map(([type]) => type), "int_from_float"]);

/**
 * Ajv's errors in fal's words (contract §7.1). Of a union, only the branch that the caller meant speaks.
 *
 * @param branches the faults of a value against one branch of a union
 */
function inputFaults(errors: ErrorObject[], branches: (schema: JsonObject, data: unknown, loc: InputFault["loc"]) => InputFault[]): InputFault[] {
  const unions = errors.filter(({ keyword }) => keyword === "anyOf" || keyword === "oneOf");
  const within = ({ instancePath }: ErrorObject, union: ErrorObject): boolean =>
    instancePath === union.instancePath || instancePath.startsWith(`${union.instancePath}/`);
  const faults = errors
    .filter((error) => !unions.some((union) => within(error, union)))
    .map(fault);
  const outermost = unions.filter((union) => !unions.some((other) => other !== union && other.instancePath !== union.instancePath && within(union, other)));
  for (const union of outermost) faults.push(...unionFaults(union, branches));
  const seen = new Set<string>();
  return faults.filter(({ loc, type }) => {
    const key = JSON.stringify([loc, type]);
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

/** The faults of the branch whose type fits the value; without one, all that would be accepted is named. */
function unionFaults(error: ErrorObject, branches: Parameters<typeof inputFaults>[1]): InputFault[] {
  const loc = location(error);
  const tried = (error.schema as JsonObject[]).map((schema) => branches(schema, error.data, loc));
  const isMistyped = (faults: InputFault[]): boolean =>
    faults.some((item) => item.loc.length === loc.length && MISTYPED.has(item.type));
  const meant = tried.find((faults) => !isMistyped(faults));
  if (meant) return meant;
  const wanted = tried.flat().map(({ msg }) => msg.replace(/^Input should be /, ""));
  return [{ loc, msg: `Input should be ${[...new Set(wanted)].join(" or ")}`, type: "value_error" }];
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
