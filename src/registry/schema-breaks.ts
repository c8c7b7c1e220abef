/**
 * What in a new version's schemas breaks the callers of the old one: inputs that were taken and no longer
 * are, outputs that they may not know how to read.
 */
import type { Json, JsonObject } from "../core/json/json.ts";
import type { JsonSchema, Restriction } from "../core/models/model.ts";

export interface Contract {
  schemas: { input: JsonSchema; output: JsonSchema };
  restrictions: Restriction[];
}

/**
 * Each break is a sentence that begins with where it is. Empty: every caller of the old version can go on.
 */
export function schemaBreaks(from: Contract, to: Contract): string[] {
  const input = narrowings(from.schemas.input, to.schemas.input, "input", {
    sub: from.schemas.input,
    sup: to.schemas.input,
    side: "input",
  });
  // Whoever reads outputs is in the opposite place: what the new version may say has to fit what they were
  // promised.
  const output = narrowings(to.schemas.output, from.schemas.output, "output", {
    sub: to.schemas.output,
    sup: from.schemas.output,
    side: "output",
  });
  return [...new Set([...input, ...restricted(from, to), ...output])];
}

function restricted(from: Contract, to: Contract): string[] {
  const before = new Set(from.restrictions.map(({ field, accepts }) => JSON.stringify([field, accepts])));
  const known = (from.schemas.input.properties ?? {}) as JsonObject;
  return to.restrictions
    .filter(
      ({ field, accepts }) => Object.hasOwn(known, field) && !before.has(JSON.stringify([field, accepts])),
    )
    .map(({ field }) => `input.${field}: is served in part only now`);
}

/** `sub` is the schema of the values that come, `sup` the one that has to take them. */
interface Sides {
  sub: JsonSchema;
  sup: JsonSchema;
  side: "input" | "output";
}

/** Keywords that annotate and do not constrain. */
const SILENT = new Set([
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
/** Keywords that are compared below. */
const JUDGED = new Set([
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

/** Deeper than this, schemas that refer to themselves are taken for equal. */
const DEPTH_MAX = 12;

/** Where a value of `sub` may not fit `sup`. */
function narrowings(subRaw: Json, supRaw: Json, at: string, sides: Sides, depth = 0): string[] {
  const sub = resolved(subRaw, sides.sub);
  const sup = resolved(supRaw, sides.sup);
  if (depth > DEPTH_MAX || sup === true || sub === false) return [];
  if (isSame(sub, sup)) return referredFaults(sub, at, sides, depth);
  if (sup === false || sup === undefined) return [`${at}: is no longer taken`];
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

/** Two texts that are the same may refer to definitions that are not. */
function referredFaults(schema: Json | undefined, at: string, sides: Sides, depth: number): string[] {
  if (!JSON.stringify(schema ?? null).includes('"$ref"')) return [];
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

/** Each branch that may come needs one that takes it. The nearest one says what is wrong. */
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
  const may = typesOf(b);
  if (!may) return [];
  const come = typesOf(a);
  const says = (types: Set<string> | undefined): string => (types ? [...types].join(" or ") : "any type");
  const fits = come && [...come].every((type) => may.has(type) || (type === "integer" && may.has("number")));
  if (fits) return [];
  return [
    side === "input"
      ? `${at}: takes ${says(may)} only, not ${says(come)}`
      : `${at}: may be ${says(come)} now, not ${says(may)} only`,
  ];
}

function valueFaults(a: JsonObject, b: JsonObject, at: string, { side }: Sides): string[] {
  const listOf = ({ enum: list, const: only }: JsonObject): Json[] | undefined =>
    (list as Json[] | undefined) ?? (only === undefined ? undefined : [only]);
  const may = listOf(b);
  if (!may) return [];
  const come = listOf(a);
  const values = (list: Json[]): string =>
    list
      .slice(0, 5)
      .map((value) => JSON.stringify(value))
      .join(", ");
  if (!come)
    return [
      side === "input" ? `${at}: takes ${values(may)} only` : `${at}: may be other than ${values(may)} now`,
    ];
  const left = come.filter((value) => !may.some((other) => JSON.stringify(other) === JSON.stringify(value)));
  if (left.length === 0) return [];
  return [
    side === "input" ? `${at}: ${values(left)} is no longer taken` : `${at}: may be ${values(left)} now`,
  ];
}

function boundFaults(a: JsonObject, b: JsonObject, at: string, { side }: Sides): string[] {
  const faults: string[] = [];
  const judge = (word: string, tighter: (sup: number, sub: number) => boolean): void => {
    const [come, may] = [a[word], b[word]];
    if (typeof may !== "number" || (typeof come === "number" && !tighter(may, come))) return;
    // A list of values says more than a bound of them.
    if (a.enum !== undefined || a.const !== undefined) return;
    // A bound of strings says nothing about numbers.
    const about = word.endsWith("Length")
      ? "string"
      : word.endsWith("Items")
        ? "array"
        : word.endsWith("Properties")
          ? "object"
          : undefined;
    if (about && !mayBe(a, about)) return;
    const [before, after] = side === "input" ? [come, may] : [may, come];
    faults.push(`${at}: ${word} ${before ?? "unbounded"} became ${after ?? "unbounded"}`);
  };
  for (const word of LOWER) judge(word, (sup, sub) => sup > sub);
  for (const word of UPPER) judge(word, (sup, sub) => sup < sub);
  return faults;
}

function fieldFaults(a: JsonObject, b: JsonObject, at: string, sides: Sides, depth: number): string[] {
  if (!mayBe(a, "object")) return [];
  const [come, may] = [a, b].map(({ properties = {} }) => properties as JsonObject) as [
    JsonObject,
    JsonObject,
  ];
  const [comes, needs] = [a, b].map(({ required = [] }) => new Set(required as string[])) as [
    Set<string>,
    Set<string>,
  ];
  const faults: string[] = [];
  // The top of an input is closed unless it says otherwise: what it does not list is set aside
  // (adding-a-model.md).
  const open = b.additionalProperties ?? !(sides.side === "input" && at === "input");
  for (const [name, field] of Object.entries(come)) {
    if (Object.hasOwn(may, name))
      faults.push(...narrowings(field, may[name] as Json, `${at}.${name}`, sides, depth + 1));
    // For a reader a new field is no trouble, unless the old schema said that there are no others.
    else if (sides.side === "input" ? open !== true : open === false)
      faults.push(
        sides.side === "input"
          ? `${at}.${name}: was removed`
          : `${at}.${name}: is new, and the old schema says that there are no others`,
      );
  }
  for (const name of needs) {
    if (comes.has(name)) continue;
    if (sides.side === "input") {
      // A default fills it in.
      const fallback = (resolved(may[name], sides.sup) as JsonObject | undefined)?.default;
      if (fallback === undefined) faults.push(`${at}.${name}: is required now`);
    } else
      faults.push(
        Object.hasOwn(come, name) ? `${at}.${name}: may be absent now` : `${at}.${name}: was removed`,
      );
  }
  if (sides.side === "output")
    for (const name of Object.keys(may))
      if (!Object.hasOwn(come, name) && !needs.has(name)) faults.push(`${at}.${name}: was removed`);
  if (
    sides.side === "input" &&
    at !== "input" &&
    (a.additionalProperties ?? true) !== false &&
    b.additionalProperties === false
  )
    faults.push(`${at}: takes no other fields any more`);
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

/**
 * Whatever else constrains has to be as it was: nobody can say in general which of two patterns is narrower.
 */
function otherFaults(a: JsonObject, b: JsonObject, at: string, { side }: Sides): string[] {
  const words = new Set([...Object.keys(a), ...Object.keys(b)]);
  return (
    [...words]
      .filter((word) => !SILENT.has(word) && !JUDGED.has(word) && !word.startsWith("x-"))
      // What only the coming side has narrows what comes, which is no trouble.
      .filter((word) => b[word] !== undefined && !isSame(a[word], b[word]))
      .map((word) =>
        side === "input" || a[word] !== undefined
          ? `${at}: ${word} is another one`
          : `${at}: ${word} is gone`,
      )
  );
}

/** Follows `$ref` inside the document; what is beside it counts too. */
function resolved(schema: Json | undefined, root: JsonSchema): Json | undefined {
  let at = schema;
  for (let hops = 0; hops < 8; hops++) {
    if (typeof at !== "object" || at === null || Array.isArray(at) || typeof at.$ref !== "string") break;
    const { $ref, ...beside } = at;
    const target = ($ref as string)
      .replace(/^#\/?/, "")
      .split("/")
      .filter((part) => part !== "")
      .reduce<Json | undefined>(
        (node, part) => (node as JsonObject | undefined)?.[part.replaceAll("~1", "/").replaceAll("~0", "~")],
        root,
      );
    at =
      typeof target === "object" && target !== null && !Array.isArray(target)
        ? { ...target, ...beside }
        : target;
  }
  if (typeof at !== "object" || at === null || Array.isArray(at) || !Array.isArray(at.allOf)) return at;
  // pydantic wraps a reference in a list of one to hang a description on it.
  const [only, ...more] = at.allOf;
  const { allOf: _, ...beside } = at;
  return more.length > 0 ? at : resolved({ ...(only as JsonObject), ...beside }, root);
}

/** Equal but for what does not constrain. */
function isSame(a: Json | undefined, b: Json | undefined): boolean {
  return stable(a) === stable(b);
}

function stable(value: Json | undefined): string {
  if (typeof value !== "object" || value === null) return JSON.stringify(value ?? null);
  if (Array.isArray(value)) return `[${value.map(stable).join(",")}]`;
  return `{${Object.keys(value)
    .sort()
    .map((name) => `${JSON.stringify(name)}:${stable(value[name])}`)
    .join(",")}}`;
}
