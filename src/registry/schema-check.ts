/**
 * Checks values against JSON Schemas and words the faults as fal does, which is as pydantic does (contract
 * §7.1).
 */
import type { ErrorObject, SchemaValidateFunction, ValidateFunction } from "ajv";
import { Ajv2020 } from "ajv/dist/2020.js";
import * as formats from "ajv-formats";
import type { InputFault } from "../core/errors/tempera-error.ts";
import { hasLargeNumber, writeJson } from "../core/json/exact-json.ts";
import { EXACT_KEYWORDS, exactSchema, fillDefaults } from "../core/json/exact-schema.ts";
import type { Json, JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { JsonSchema } from "../core/models/model.ts";
import { type Coercion, unreadFault } from "./lax-values.ts";
import { publishedPattern } from "./linear-pattern.ts";
import { missingField, unknownFields } from "./missing-field.ts";
import { addValueKeywords } from "./value-keywords.ts";

type Location = InputFault["loc"];

/**
 * `strictNumbers`, because JSON has numbers that are infinite once parsed (1e999). Not `strict`, so that
 * keywords like `x-fal-order-properties` pass. Not `inlineRefs`: a part that is used often is compiled once.
 * Not `optimize`, which makes compiling several times slower and checks no faster. `loopEnum`, because each
 * entry of an `enum` would be code of its own, and entries weigh nothing (`schema-weight.ts`).
 */
const OPTIONS = {
  useDefaults: true,
  strict: false,
  strictNumbers: true,
  inlineRefs: false,
  loopEnum: 2,
  code: { regExp: publishedPattern, optimize: false },
  verbose: true,
  validateSchema: false,
  logger: false,
} as const;

/** Gives the faults of a value, or `undefined` when it fits. Defaults are filled in, in place. */
export type SchemaCheck = (value: unknown) => InputFault[] | undefined;

interface CheckOptions {
  /**
   * True to report all faults instead of the first, up to `LIMITS.inputFaultsMax`. Each costs memory, so only
   * for values of bounded size.
   */
  every: boolean;
  /** `lax` when values were coerced before: a fault then says that one could not be. @default "strict" */
  coercion?: Coercion;
}

/** Compiles a schema into a check. */
export function createSchemaCheck(schema: JsonSchema, options: CheckOptions): SchemaCheck {
  return createSchemaCompiler(options)(schema);
}

/** Creates a compiler for many schemas, parts of one document: they share the validators. */
export function createSchemaCompiler({
  every,
  coercion = "strict",
}: CheckOptions): (schema: JsonSchema) => SchemaCheck {
  let plainAjv: Ajv2020 | undefined;
  let exactAjv: Ajv2020 | undefined;
  const compilePlain = (schema: JsonSchema): SchemaCheck => {
    plainAjv ??= createAjv(every);
    return compileCheck(schema, plainAjv, coercion);
  };
  const compileExact = (schema: JsonSchema): SchemaCheck => {
    exactAjv ??= createExactAjv(every);
    return compileCheck(exactSchema(schema), exactAjv, coercion);
  };
  return (schema) => {
    // Most schemas and values have no large numbers, and the validator's own keywords are faster.
    const plain = hasLargeNumber(schema) ? undefined : compilePlain(schema);
    let exact: SchemaCheck | undefined;
    return (value) => {
      if (plain && !hasLargeNumber(value)) return plain(value);
      exact ??= compileExact(schema);
      return exact(value);
    };
  };
}

/**
 * Makes a schema of a part of a document, with the definitions that it may refer to. The validator knows the
 * part's own address from the document already, and would refuse it a second time.
 */
export function partSchema(document: JsonSchema, { $id: _, ...part }: JsonSchema): JsonSchema {
  const { $defs = {}, definitions = {}, components = {} } = document;
  return { $defs, definitions, components, ...part };
}

function createAjv(every: boolean): Ajv2020 {
  // The schema itself was checked when its package was read.
  const ajv = new Ajv2020({ ...OPTIONS, allErrors: every });
  formats.default.default(ajv);
  addValueKeywords(ajv);
  return ajv;
}

/** Creates a validator with the keywords of `exactSchema`. Its errors are named as by the usual keywords. */
function createExactAjv(every: boolean): Ajv2020 {
  const ajv = createAjv(every);
  for (const [keyword, { name, check }] of Object.entries(EXACT_KEYWORDS)) {
    const validate: SchemaValidateFunction = (wanted, value) => {
      const params = check(wanted as never, value);
      if (params) validate.errors = [{ keyword: name, params }];
      return params === undefined;
    };
    ajv.removeKeyword(keyword);
    ajv.addKeyword({ keyword, validate });
  }
  const validate = (defaults: JsonObject, value: Json): boolean => {
    fillDefaults(defaults, value);
    return true;
  };
  ajv.addKeyword({ keyword: "exactDefaults", modifying: true, validate });
  return ajv;
}

function compileCheck(schema: JsonSchema, ajv: Ajv2020, coercion: Coercion): SchemaCheck {
  /** Each branch of a union is compiled when a value first fails all of them. */
  const branches = new Map<JsonSchema, ValidateFunction>();

  const branchFaults = (branch: JsonSchema, value: unknown): InputFault[] => {
    const check = branches.get(branch) ?? ajv.compile(partSchema(schema, branch));
    branches.set(branch, check);
    return faultsOf(check, value) ?? [];
  };
  const faultsOf = (check: ValidateFunction, value: unknown): InputFault[] | undefined =>
    check(value) ? undefined : inputFaults(check.errors ?? [], value, { branchFaults, coercion });

  const check = ajv.compile(schema);
  return (value) => faultsOf(check, value);
}

const isUnion = ({ keyword }: ErrorObject): boolean => keyword === "anyOf" || keyword === "oneOf";

/**
 * Translates errors into faults, at most `LIMITS.inputFaultsMax`: no more are answered. Of a union, only the
 * faults of the branch that the caller meant are shown.
 */
function inputFaults(
  errors: ErrorObject[],
  root: unknown,
  {
    branchFaults,
    coercion,
  }: { branchFaults: (branch: JsonSchema, value: unknown) => InputFault[]; coercion: Coercion },
): InputFault[] {
  const unionPaths = new Set(errors.filter(isUnion).map(({ instancePath }) => instancePath));
  const isWithinUnion = (path: string): boolean => pathsAbove(path).some((above) => unionPaths.has(above));
  const faults = new Map<string, InputFault>();
  const add = (found: InputFault): void => {
    const key = writeJson([found.loc, found.type]);
    if (!faults.has(key)) faults.set(key, found);
  };
  const isFull = (): boolean => faults.size >= LIMITS.inputFaultsMax;
  for (const error of errors) {
    if (isFull()) break;
    const { keyword, instancePath } = error;
    // The errors that an `if` led to are in the list themselves.
    if (keyword === "if" || unionPaths.has(instancePath) || isWithinUnion(instancePath)) continue;
    add(fault(error, location(error, root), coercion));
  }
  for (const union of errors) {
    if (isFull()) break;
    if (!isUnion(union) || isWithinUnion(union.instancePath)) continue;
    const tried = (union.schema as JsonSchema[]).map((branch) => branchFaults(branch, union.data));
    for (const found of unionFaults(tried, location(union, root))) add(found);
  }
  return [...faults.values()].slice(0, LIMITS.inputFaultsMax);
}

/** Lists the paths of the objects and lists that a path is in: those of `/a/0` are "/a" and "". */
function pathsAbove(path: string): string[] {
  const above: string[] = [];
  for (let end = path.lastIndexOf("/"); end >= 0; end = path.lastIndexOf("/", end - 1)) {
    above.push(path.slice(0, end));
    if (end === 0) break;
  }
  return above;
}

/** The types of faults that rule out a branch of a union. */
const MISTYPED = new Set([
  "string_type",
  "int_type",
  "int_from_float",
  "float_type",
  "bool_type",
  "int_parsing",
  "int_parsing_size",
  "float_parsing",
  "finite_number",
  "bool_parsing",
  "list_type",
  "dict_type",
  "none_required",
]);

/**
 * Chooses the faults of the branch whose type fits the value, or of the only one that is not null. Without
 * one, a single fault names everything that is accepted.
 *
 * @param tried the faults of each branch, located from the value on
 * @param loc the location of the value
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
 * Locates an error: `["body", "loras", 0, "path"]`. Numbers are items of lists, strings are names of fields,
 * also of fields that look like numbers.
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

/** The fault type and message for each JSON type. */
const TYPE_NAMES: Record<string, [type: string, message: string]> = {
  string: ["string_type", "Input should be a valid string"],
  integer: ["int_type", "Input should be a valid integer"],
  number: ["float_type", "Input should be a valid number"],
  boolean: ["bool_type", "Input should be a valid boolean"],
  array: ["list_type", "Input should be a valid list"],
  object: ["dict_type", "Input should be a valid dictionary"],
  null: ["none_required", "Input should be None"],
};

type Params = ErrorObject["params"];

/** The wording of a fault for each keyword that concerns a single value. */
const BY_KEYWORD: Record<string, (params: Params, error: ErrorObject) => Omit<InputFault, "loc">> = {
  type: typeFault,
  minimum: ({ limit }) => ({
    msg: `Input should be greater than or equal to ${limit}`,
    type: "greater_than_equal",
    ctx: { ge: limit },
  }),
  maximum: ({ limit }) => ({
    msg: `Input should be less than or equal to ${limit}`,
    type: "less_than_equal",
    ctx: { le: limit },
  }),
  exclusiveMinimum: ({ limit }) => ({
    msg: `Input should be greater than ${limit}`,
    type: "greater_than",
    ctx: { gt: limit },
  }),
  exclusiveMaximum: ({ limit }) => ({
    msg: `Input should be less than ${limit}`,
    type: "less_than",
    ctx: { lt: limit },
  }),
  multipleOf: ({ multipleOf }) => ({
    msg: `Input should be a multiple of ${multipleOf}`,
    type: "multiple_of",
    ctx: { multiple_of: multipleOf },
  }),
  minLength: ({ limit }) => tooShort(limit, "characters"),
  minItems: ({ limit }) => tooShort(limit, "items"),
  maxLength: ({ limit }) => tooLong(limit, "characters"),
  maxItems: ({ limit }) => tooLong(limit, "items"),
  enum: ({ allowedValues }) => oneOf(allowedValues),
  const: ({ allowedValue }) => oneOf([allowedValue]),
  format: ({ format }) => ({ msg: `Input should be a valid ${format}`, type: "value_error" }),
  pattern: ({ pattern }) => ({
    msg: `String should match pattern '${pattern}'`,
    type: "string_pattern_mismatch",
    ctx: { pattern },
  }),
};

function fault(error: ErrorObject, loc: Location, coercion: Coercion): InputFault {
  const { keyword, params, message, data, parentSchema } = error;
  if (keyword === "required")
    return missingField(loc, params.missingProperty, unknownFields(data, parentSchema?.properties));
  if (keyword === "additionalProperties")
    return {
      loc: [...loc, params.additionalProperty],
      msg: "Extra inputs are not permitted",
      type: "extra_forbidden",
    };
  if (keyword === "type" && coercion === "lax") {
    const unread = unreadFault(error.data, expectedType(params));
    if (unread) return { loc, ...unread };
  }
  const worded = Object.hasOwn(BY_KEYWORD, keyword) ? BY_KEYWORD[keyword]?.(params, error) : undefined;
  return {
    loc,
    ...(worded ?? { msg: `Value error, ${message ?? "the value is not allowed"}`, type: "value_error" }),
  };
}

const expectedType = ({ type }: Params): string =>
  ([] as string[]).concat(type).find((name) => name !== "null") ?? "null";

function typeFault(params: Params, { data, message }: ErrorObject): Omit<InputFault, "loc"> {
  const expected = expectedType(params);
  if (expected === "integer" && Number.isFinite(data))
    return {
      msg: "Input should be a valid integer, got a number with a fractional part",
      type: "int_from_float",
    };
  if (expected === "number" && typeof data === "bigint") return NOT_FINITE;
  const [type, msg] = TYPE_NAMES[expected] ?? ["value_error", message ?? "Input has the wrong type"];
  return { msg, type };
}

const NOT_FINITE = { msg: "Input should be a finite number", type: "finite_number" };

const tooShort = (limit: number, parts: string): Omit<InputFault, "loc"> => ({
  msg: `Input should have at least ${limit} ${parts}`,
  type: "sequence_too_short",
  ctx: { min_length: limit },
});

const tooLong = (limit: number, parts: string): Omit<InputFault, "loc"> => ({
  msg: `Input should have at most ${limit} ${parts}`,
  type: "sequence_too_long",
  ctx: { max_length: limit },
});

function oneOf(allowed: unknown[]): Omit<InputFault, "loc"> {
  const expected = allowed.map((value) => `'${String(value)}'`).join(", ");
  return { msg: `Input should be ${expected}`, type: "one_of", ctx: { expected: allowed } };
}
