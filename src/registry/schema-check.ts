/**
 * Checks a value against a JSON Schema and says what is wrong with it in fal's words, which are pydantic's
 * (contract §7.1).
 */
import type { ErrorObject, ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import * as formats from "ajv-formats";
import type { InputFault } from "../core/errors/tempera-error.ts";
import type { JsonSchema } from "../core/models/model.ts";

type Location = InputFault["loc"];

/**
 * JSON has numbers that are none once parsed (1e999), so `strictNumbers`; keywords like
 * `x-fal-order-properties` pass, so not `strict`.
 */
const OPTIONS = {
  useDefaults: true,
  strict: false,
  strictNumbers: true,
  verbose: true,
  validateSchema: false,
  logger: false,
} as const;

/** The faults of a value; `undefined` when it fits. Defaults are filled in, in place. */
export type SchemaCheck = (value: unknown) => InputFault[] | undefined;

/**
 * @param every all faults instead of the first: costs memory for each of them, so only for values of bounded
 * size
 */
export function createSchemaCheck(schema: JsonSchema, { every }: { every: boolean }): SchemaCheck {
  // That the schema is one was checked when its package was read.
  const ajv = new Ajv2020({ ...OPTIONS, allErrors: every });
  formats.default.default(ajv);
  const { $defs = {}, definitions = {}, components = {} } = schema;
  /** Each branch of a union is compiled when a value first fails all of them. */
  const branches = new Map<JsonSchema, ValidateFunction>();

  const branchFaults = (branch: JsonSchema, value: unknown): InputFault[] => {
    const check = branches.get(branch) ?? ajv.compile({ $defs, definitions, components, ...branch });
    branches.set(branch, check);
    return faultsOf(check, value) ?? [];
  };
  const faultsOf = (check: ValidateFunction, value: unknown): InputFault[] | undefined =>
    check(value) ? undefined : inputFaults(check.errors ?? [], value, branchFaults);

  const check = ajv.compile(schema);
  return (value) => faultsOf(check, value);
}

const isUnion = ({ keyword }: ErrorObject): boolean => keyword === "anyOf" || keyword === "oneOf";
const isWithin = (path: string, outer: string): boolean => path === outer || path.startsWith(`${outer}/`);

/** Of a union, only the branch that the caller meant speaks. */
function inputFaults(
  errors: ErrorObject[],
  root: unknown,
  branchFaults: (branch: JsonSchema, value: unknown) => InputFault[],
): InputFault[] {
  const unions = errors.filter(isUnion);
  const outermost = unions.filter(
    ({ instancePath }) =>
      !unions.some(
        (other) => other.instancePath !== instancePath && isWithin(instancePath, other.instancePath),
      ),
  );
  const faults = errors
    // What an `if` found wrong has its own errors.
    .filter(
      ({ keyword, instancePath }) =>
        keyword !== "if" && !outermost.some((union) => isWithin(instancePath, union.instancePath)),
    )
    .map((error) => fault(error, location(error, root)));
  for (const union of outermost) {
    const loc = location(union, root);
    const tried = (union.schema as JsonSchema[]).map((branch) => branchFaults(branch, union.data));
    faults.push(...unionFaults(tried, loc));
  }
  const seen = new Set<string>();
  return faults.filter(({ loc, type }) => {
    const key = JSON.stringify([loc, type]);
    return seen.has(key) ? false : seen.add(key);
  });
}

/** The fault types that say "not this branch of the union at all". */
const MISTYPED = new Set([
  "string_type",
  "int_type",
  "int_from_float",
  "float_type",
  "bool_type",
  "list_type",
  "dict_type",
  "none_required",
]);

/**
 * The faults of the branch whose type fits the value, or of the only one that is not null; without one, all
 * that would be accepted is named.
 *
 * @param tried the faults of each branch, located from the value on
 * @param loc where the value stands
 */
function unionFaults(tried: InputFault[][], loc: Location): InputFault[] {
  if (tried.some((faults) => faults.length === 0))
    return [{ loc, msg: "Input should fit only one of the accepted forms", type: "value_error" }];
  const isMistyped = (faults: InputFault[]): boolean =>
    faults.some((item) => item.loc.length === 1 && MISTYPED.has(item.type));
  const present = tried.filter(
    (faults) => !faults.some((item) => item.loc.length === 1 && item.type === "none_required"),
  );
  const meant =
    tried.find((faults) => !isMistyped(faults)) ?? (present.length === 1 ? present[0] : undefined);
  if (meant) return meant.map((item) => ({ ...item, loc: [...loc, ...item.loc.slice(1)] }));
  const wanted = tried.flat().map(({ msg }) => msg.replace(/^Input should be /, ""));
  return [{ loc, msg: `Input should be ${[...new Set(wanted)].join(" or ")}`, type: "value_error" }];
}

/**
 * `["body", "loras", 0, "path"]`: numbers count list items, texts name fields, also those that look like
 * numbers.
 */
function location({ instancePath }: ErrorObject, root: unknown): Location {
  const loc: Location = ["body"];
  let value = root;
  for (const part of instancePath.split("/").slice(1)) {
    const step = Array.isArray(value) ? Number(part) : part.replaceAll("~1", "/").replaceAll("~0", "~");
    loc.push(step);
    value = (value as Record<string | number, unknown>)[step];
  }
  return loc;
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

function fault({ keyword, params, data, message }: ErrorObject, loc: Location): InputFault {
  switch (keyword) {
    case "required":
      return { loc: [...loc, params.missingProperty], msg: "Field required", type: "missing" };
    case "additionalProperties":
      return {
        loc: [...loc, params.additionalProperty],
        msg: "Extra inputs are not permitted",
        type: "extra_forbidden",
      };
    case "type": {
      const wanted = ([] as string[]).concat(params.type).find((type) => type !== "null") ?? "null";
      if (wanted === "integer" && Number.isFinite(data)) {
        return {
          loc,
          msg: "Input should be a valid integer, got a number with a fractional part",
          type: "int_from_float",
        };
      }
      const [type, msg] = TYPE_NAMES[wanted] ?? ["value_error", message ?? "Input has the wrong type"];
      return { loc, msg, type };
    }
    case "minimum":
      return {
        loc,
        msg: `Input should be greater than or equal to ${params.limit}`,
        type: "greater_than_equal",
        ctx: { ge: params.limit },
      };
    case "maximum":
      return {
        loc,
        msg: `Input should be less than or equal to ${params.limit}`,
        type: "less_than_equal",
        ctx: { le: params.limit },
      };
    case "exclusiveMinimum":
      return {
        loc,
        msg: `Input should be greater than ${params.limit}`,
        type: "greater_than",
        ctx: { gt: params.limit },
      };
    case "exclusiveMaximum":
      return {
        loc,
        msg: `Input should be less than ${params.limit}`,
        type: "less_than",
        ctx: { lt: params.limit },
      };
    case "multipleOf":
      return {
        loc,
        msg: `Input should be a multiple of ${params.multipleOf}`,
        type: "multiple_of",
        ctx: { multiple_of: params.multipleOf },
      };
    case "minLength":
    case "minItems":
      return {
        loc,
        msg: `Input should have at least ${params.limit} ${keyword === "minLength" ? "characters" : "items"}`,
        type: "sequence_too_short",
        ctx: { min_length: params.limit },
      };
    case "maxLength":
    case "maxItems":
      return {
        loc,
        msg: `Input should have at most ${params.limit} ${keyword === "maxLength" ? "characters" : "items"}`,
        type: "sequence_too_long",
        ctx: { max_length: params.limit },
      };
    case "enum":
    case "const": {
      const allowed: unknown[] = params.allowedValues ?? [params.allowedValue];
      const expected = allowed.map((value) => `'${String(value)}'`).join(", ");
      return { loc, msg: `Input should be ${expected}`, type: "one_of", ctx: { expected: allowed } };
    }
    case "format":
      return { loc, msg: `Input should be a valid ${params.format}`, type: "value_error" };
    case "pattern":
      return {
        loc,
        msg: `String should match pattern '${params.pattern}'`,
        type: "string_pattern_mismatch",
        ctx: { pattern: params.pattern },
      };
    default:
      return { loc, msg: `Value error, ${message ?? "the value is not allowed"}`, type: "value_error" };
  }
}
