/**
 * Finds the changes in a new version's schemas that break the callers of the old one: inputs that are no
 * longer accepted, and outputs that callers may not know how to read.
 */
import { writeJson } from "../../core/json/exact-json.ts";
import { canonicalJson } from "../../core/json/input-hash.ts";
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import { resolvePointer } from "../../core/json/plain-schema.ts";
import type { JsonSchema, Restriction } from "../../core/models/model.ts";

export interface Contract {
  schemas: { input: JsonSchema; output: JsonSchema };
  restrictions: Restriction[];
}

/**
 * Compares two versions. Each break is a sentence that begins with its location; the list is empty when every
 * caller of the old version can use the new one.
 */
export function schemaBreaks(from: Contract, to: Contract): string[] {
  const input = sideBreaks(from.schemas.input, to.schemas.input, "input");
  // For outputs the direction is reversed: the values of the new version have to fit the old schema.
  const output = sideBreaks(to.schemas.output, from.schemas.output, "output");
  return [...new Set([...input, ...restricted(from, to), ...output])];
}

function sideBreaks(sub: JsonSchema, sup: JsonSchema, side: Sides["side"]): string[] {
  const work: Work = {
    left: COMPARISONS_MAX,
    faults: new WeakMap(),
    texts: new WeakMap(),
    resolved: new Map(),
  };
  const faults = narrowings(sub, sup, side, { sub, sup, side, work });
  if (work.left >= 0) return faults;
  return [
    ...faults,
    `${side}: has unions of too many branches to be compared with those of the version before`,
  ];
}

function restricted(from: Contract, to: Contract): string[] {
  const before = new Set(from.restrictions.map(({ field, accepts }) => writeJson([field, accepts])));
  const known = (from.schemas.input.properties ?? {}) as JsonObject;
  return to.restrictions
    .filter(({ field, accepts }) => Object.hasOwn(known, field) && !before.has(writeJson([field, accepts])))
    .map(({ field }) => `input.${field}: has new restrictions`);
}

/** `sub` is the schema of the values that are sent, `sup` the one that has to accept them. */
interface Sides {
  sub: JsonSchema;
  sup: JsonSchema;
  side: "input" | "output";
  work: Work;
}

/**
 * Comparisons of two parts at most: each branch of a union is compared with each of the other. The largest
 * schemas have a few thousand parts.
 */
const COMPARISONS_MAX = 50_000;

/** Faults of one pair that are kept: definitions that refer to one another multiply them. */
const FAULTS_MAX = 100;

/** The work on two schemas. Each pair of parts is compared once, however often references lead to it. */
interface Work {
  /** Comparisons that may still be made; negative: some were not. */
  left: number;
  /** The faults of pairs, each without its location. Those of a pair that is being compared are empty. */
  faults: WeakMap<object, WeakMap<object, string[]>>;
  /** The canonical texts of parts. */
  texts: WeakMap<object, string>;
  /** By document: its parts without their references. */
  resolved: Map<JsonSchema, WeakMap<object, Json | undefined>>;
}

/** Keywords that annotate and do not constrain. */
const ANNOTATIONS = new Set([
  "$schema",
  "$id",
  "$defs",
  "definitions",
  "components",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
  "$comment",
  "contentMediaType",
  "contentEncoding",
]);
/** Keywords that are compared one by one below. */
const COMPARED = new Set([
  "type",
  "enum",
  "const",
  "properties",
  "required",
  "additionalProperties",
  "items",
  "anyOf",
  "oneOf",
  "minimum",
  "maximum",
  "exclusiveMinimum",
  "exclusiveMaximum",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "minProperties",
  "maxProperties",
]);
const LOWER = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"] as const;
const UPPER = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"] as const;

/** Deeper than this, schemas count as equal. */
const DEPTH_MAX = 64;

/** Lists the locations where a value of `sub` may not fit `sup`. */
function narrowings(subRaw: Json, supRaw: Json, at: string, sides: Sides, depth = 0): string[] {
  const { work } = sides;
  if (depth > DEPTH_MAX || --work.left < 0) return [];
  const sub = resolved(subRaw, sides.sub, work);
  const sup = resolved(supRaw, sides.sup, work);
  if (sup === true || sub === false) return [];
  if (!isObject(sub) || !isObject(sup)) return pairFaults(sub, sup, at, sides, depth);
  const ofSub = work.faults.get(sub) ?? new WeakMap<object, string[]>();
  work.faults.set(sub, ofSub);
  const known = ofSub.get(sup);
  if (known) return known.map((fault) => at + fault);
  // Schemas that refer to themselves lead back to a pair before it is known.
  ofSub.set(sup, []);
  const faults = pairFaults(sub, sup, at, sides, depth).slice(0, FAULTS_MAX);
  ofSub.set(
    sup,
    faults.map((fault) => fault.slice(at.length)),
  );
  return faults;
}

function pairFaults(
  sub: Json | undefined,
  sup: Json | undefined,
  at: string,
  sides: Sides,
  depth: number,
): string[] {
  if (isSame(sub, sup, sides.work)) return referredFaults(sub, at, sides, depth);
  if (sup === false || sup === undefined) return [`${at}: is no longer accepted`];
  const a = typeof sub === "object" && sub !== null ? (sub as JsonObject) : {};
  const b = sup as JsonObject;

  const subBranches = branchesOf(a);
  const supBranches = branchesOf(b);
  if (subBranches || supBranches)
    return branchFaults(subBranches ?? [a], supBranches ?? [b], at, sides, depth);

  return [
    ...typeFaults(a, b, at, sides),
    ...valueFaults(a, b, at, sides),
    ...boundFaults(a, b, at, sides),
    ...fieldFaults(a, b, at, sides, depth),
    ...(b.items === undefined || !mayBe(a, "array")
      ? []
      : narrowings(a.items ?? true, b.items, `${at}[]`, sides, depth + 1)),
    ...otherFaults(a, b, at, sides),
  ];
}

/** Compares the references of two equal schemas: they may point to definitions that differ. */
function referredFaults(schema: Json | undefined, at: string, sides: Sides, depth: number): string[] {
  if (!textOf(schema, sides.work).includes('"$ref"')) return [];
  const node = schema as JsonObject;
  const found: string[] = [];
  for (const [name, field] of Object.entries((node.properties ?? {}) as JsonObject))
    found.push(...narrowings(field, field, `${at}.${name}`, sides, depth + 1));
  if (node.items !== undefined)
    found.push(...narrowings(node.items, node.items, `${at}[]`, sides, depth + 1));
  for (const branch of branchesOf(node) ?? [])
    found.push(...narrowings(branch, branch, at, sides, depth + 1));
  return found;
}

const branchesOf = (schema: JsonObject): Json[] | undefined =>
  (schema.anyOf ?? schema.oneOf) as Json[] | undefined;

/**
 * Each branch that may be sent needs one that accepts it. Otherwise the faults of the closest one are shown.
 */
function branchFaults(sub: Json[], sup: Json[], at: string, sides: Sides, depth: number): string[] {
  return sub.flatMap((branch) => {
    const tried = sup.map((other) => narrowings(branch, other, at, sides, depth + 1));
    return tried.reduce((best, faults) => (faults.length < best.length ? faults : best), tried[0] ?? []);
  });
}

function typesOf({ type }: JsonObject): Set<string> | undefined {
  if (type === undefined) return undefined;
  return new Set((Array.isArray(type) ? type : [type]) as string[]);
}

const mayBe = (schema: JsonObject, type: string): boolean => typesOf(schema)?.has(type) ?? true;

function typeFaults(a: JsonObject, b: JsonObject, at: string, { side }: Sides): string[] {
  const accepted = typesOf(b);
  if (!accepted) return [];
  const sent = typesOf(a);
  const words = (types: Set<string> | undefined): string => (types ? [...types].join(" or ") : "any type");
  const isAccepted = (type: string): boolean =>
    accepted.has(type) || (type === "integer" && accepted.has("number"));
  if (sent && [...sent].every(isAccepted)) return [];
  return [
    side === "input"
      ? `${at}: takes ${words(accepted)} only, not ${words(sent)}`
      : `${at}: may be ${words(sent)} now, not ${words(accepted)} only`,
  ];
}

function valueFaults(a: JsonObject, b: JsonObject, at: string, { side }: Sides): string[] {
  const listOf = ({ enum: list, const: only }: JsonObject): Json[] | undefined =>
    (list as Json[] | undefined) ?? (only === undefined ? undefined : [only]);
  const accepted = listOf(b);
  if (!accepted) return [];
  const sent = listOf(a);
  const values = (list: Json[]): string =>
    list
      .slice(0, 5)
      .map((value) => writeJson(value))
      .join(", ");
  if (!sent)
    return [
      side === "input"
        ? `${at}: takes ${values(accepted)} only`
        : `${at}: may be other than ${values(accepted)} now`,
    ];
  const known = new Set(accepted.map((value) => writeJson(value)));
  const rest = sent.filter((value) => !known.has(writeJson(value)));
  if (rest.length === 0) return [];
  return [
    side === "input" ? `${at}: ${values(rest)} is no longer accepted` : `${at}: may be ${values(rest)} now`,
  ];
}

const isNumeric = (value: Json | undefined): value is number | bigint =>
  typeof value === "number" || typeof value === "bigint";

function boundFaults(a: JsonObject, b: JsonObject, at: string, { side }: Sides): string[] {
  const faults: string[] = [];
  const judge = (word: string, tighter: (sup: number | bigint, sub: number | bigint) => boolean): void => {
    const [sent, accepted] = [a[word], b[word]];
    if (!isNumeric(accepted) || (isNumeric(sent) && !tighter(accepted, sent))) return;
    // Listed values are compared in `valueFaults`, whatever the bounds.
    if (a.enum !== undefined || a.const !== undefined) return;
    // A bound of strings does not concern numbers.
    const about = word.endsWith("Length")
      ? "string"
      : word.endsWith("Items")
        ? "array"
        : word.endsWith("Properties")
          ? "object"
          : undefined;
    if (about && !mayBe(a, about)) return;
    const [before, after] = side === "input" ? [sent, accepted] : [accepted, sent];
    faults.push(`${at}: ${word} ${before ?? "unbounded"} became ${after ?? "unbounded"}`);
  };
  for (const word of LOWER) judge(word, (sup, sub) => sup > sub);
  for (const word of UPPER) judge(word, (sup, sub) => sup < sub);
  return faults;
}

function fieldFaults(a: JsonObject, b: JsonObject, at: string, sides: Sides, depth: number): string[] {
  if (!mayBe(a, "object")) return [];
  return [
    ...propertyFaults(a, b, at, sides, depth),
    ...requiredFaults(a, b, at, sides),
    ...otherFieldFaults(a, b, at, sides, depth),
  ];
}

const propertiesOf = ({ properties = {} }: JsonObject): JsonObject => properties as JsonObject;
const requiredOf = ({ required = [] }: JsonObject): Set<string> => new Set(required as string[]);

function propertyFaults(a: JsonObject, b: JsonObject, at: string, sides: Sides, depth: number): string[] {
  const accepted = propertiesOf(b);
  const faults: string[] = [];
  // The top level of an input is closed by default: fields that it does not list are ignored
  // (adding-a-model.md).
  const open = b.additionalProperties ?? !(sides.side === "input" && at === "input");
  for (const [name, field] of Object.entries(propertiesOf(a))) {
    if (Object.hasOwn(accepted, name))
      faults.push(...narrowings(field, accepted[name] as Json, `${at}.${name}`, sides, depth + 1));
    // A new field of an output is no break, unless the old schema excludes other fields.
    else if (sides.side === "input" ? open !== true : open === false)
      faults.push(
        sides.side === "input"
          ? `${at}.${name}: was removed`
          : `${at}.${name}: is new, and the old schema excludes other fields`,
      );
  }
  return faults;
}

function requiredFaults(a: JsonObject, b: JsonObject, at: string, sides: Sides): string[] {
  const [sent, accepted] = [propertiesOf(a), propertiesOf(b)];
  const [always, needed] = [requiredOf(a), requiredOf(b)];
  const faults: string[] = [];
  for (const name of needed) {
    if (always.has(name)) continue;
    if (sides.side === "input") {
      // A default fills it in.
      const fallback = (resolved(accepted[name], sides.sup, sides.work) as JsonObject | undefined)?.default;
      if (fallback === undefined) faults.push(`${at}.${name}: is required now`);
    } else
      faults.push(
        Object.hasOwn(sent, name) ? `${at}.${name}: may be absent now` : `${at}.${name}: was removed`,
      );
  }
  if (sides.side === "output")
    for (const name of Object.keys(accepted))
      if (!Object.hasOwn(sent, name) && !needed.has(name)) faults.push(`${at}.${name}: was removed`);
  return faults;
}

/** Compares `additionalProperties`. */
function otherFieldFaults(a: JsonObject, b: JsonObject, at: string, sides: Sides, depth: number): string[] {
  const faults: string[] = [];
  if (
    sides.side === "input" &&
    at !== "input" &&
    (a.additionalProperties ?? true) !== false &&
    b.additionalProperties === false
  )
    faults.push(`${at}: no longer takes other fields`);
  if (typeof a.additionalProperties === "object" && typeof b.additionalProperties === "object")
    faults.push(...narrowings(a.additionalProperties, b.additionalProperties, `${at}.*`, sides, depth + 1));
  else if (
    sides.side === "input" &&
    typeof b.additionalProperties === "object" &&
    a.additionalProperties !== false &&
    at !== "input"
  )
    faults.push(`${at}: takes fewer kinds of other fields`);
  return faults;
}

/** Any other constraint must be the same: in general nothing can decide which of two patterns is narrower. */
function otherFaults(a: JsonObject, b: JsonObject, at: string, { side, work }: Sides): string[] {
  const words = new Set([...Object.keys(a), ...Object.keys(b)]);
  return (
    [...words]
      .filter((word) => !ANNOTATIONS.has(word) && !COMPARED.has(word) && !word.startsWith("x-"))
      // A constraint on the sent values alone only narrows them, which is no break.
      .filter((word) => b[word] !== undefined && !isSame(a[word], b[word], work))
      .map((word) =>
        side === "input" || a[word] !== undefined
          ? `${at}: ${word} has changed`
          : `${at}: ${word} was removed`,
      )
  );
}

/** Follows `$ref` within its document. Keywords beside a reference override those of its target. */
function resolved(schema: Json | undefined, root: JsonSchema, work: Work): Json | undefined {
  if (!isObject(schema)) return schema;
  const known = work.resolved.get(root) ?? new WeakMap<object, Json | undefined>();
  work.resolved.set(root, known);
  if (!known.has(schema)) known.set(schema, resolve(schema, root));
  return known.get(schema);
}

function resolve(schema: Json | undefined, root: JsonSchema): Json | undefined {
  let at = schema;
  for (let hops = 0; hops < 8; hops++) {
    if (!isObject(at) || typeof at.$ref !== "string") break;
    const { $ref, ...beside } = at;
    const target = resolvePointer(root, $ref as string);
    at = isObject(target) && Object.keys(beside).length > 0 ? { ...target, ...beside } : target;
  }
  if (!isObject(at) || !Array.isArray(at.allOf)) return at;
  // pydantic wraps a reference in a list of one to add a description to it.
  const [only, ...more] = at.allOf;
  const { allOf: _, ...beside } = at;
  return more.length > 0 ? at : resolve({ ...(only as JsonObject), ...beside }, root);
}

const isSame = (a: Json | undefined, b: Json | undefined, work: Work): boolean =>
  textOf(a, work) === textOf(b, work);

function textOf(part: Json | undefined, { texts }: Work): string {
  if (typeof part !== "object" || part === null) return canonicalJson(part ?? null);
  const text = texts.get(part) ?? canonicalJson(part);
  texts.set(part, text);
  return text;
}
