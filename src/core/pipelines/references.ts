/**
 * A reference is a string that names a value of a pipeline's input or of a node's output: `$input.prompt`,
 * `$image.images.0.url` (contract §11.4). It is always a whole string; references inside a text are not
 * supported. Every string that begins with `$` is a reference, so a text that begins with `$` cannot be
 * written in a definition; it can only come from the input. Workflow code imports this: pure functions only.
 */
import { writeJson } from "../json/exact-json.ts";
import type { Json, JsonObject } from "../json/json.ts";

export interface Reference {
  /** The reference as written. */
  text: string;
  /** `input`, or the name of a node. */
  source: string;
  /** Strings are fields, numbers are list indexes. */
  path: (string | number)[];
}

/** The path of a value within a template. */
export type TemplatePath = (string | number)[];

/** A reference found in a template, or a string that begins like one and is not valid. */
export type FoundReference = { loc: TemplatePath; text: string } & (
  | { reference: Reference }
  | { fault: string }
);

/** The source name of the caller's input. No node may have this name. */
export const INPUT_SOURCE = "input";

/** Names of nodes may have hyphens, as in fal's own examples, and letters of any language. */
const SOURCE = /^[\p{ID_Continue}][\p{ID_Continue}-]*$/u;
const FIELD = /^[\p{ID_Start}_][\p{ID_Continue}]*$/u;
const INDEX = /^\d{1,9}$/;

/** Tells whether a node may have this name, so that references can name it. */
export function isNodeName(name: string): boolean {
  return SOURCE.test(name) && name !== INPUT_SOURCE;
}

/** Parses a string that begins with `$`. */
export function parseReference(text: string): Reference | { fault: string } {
  const [source = "", ...parts] = text.slice(1).split(".");
  if (!SOURCE.test(source)) {
    return {
      fault:
        `${quoted(text)} begins with $ and is not a valid reference; ` +
        "write $input.field or $node.field.0.field",
    };
  }
  const path: (string | number)[] = [];
  for (const part of parts) {
    if (INDEX.test(part)) path.push(Number(part));
    else if (FIELD.test(part)) path.push(part);
    else
      return {
        fault: `${quoted(text)} has ${quoted(part)} in place of a field name or a list index`,
      };
  }
  return { text, source, path };
}

/** Lists every string of a template that begins with `$`, with its path, in their order. */
export function referencesOf(template: Json, loc: TemplatePath = []): FoundReference[] {
  if (typeof template === "string") {
    if (!template.startsWith("$")) return [];
    const read = parseReference(template);
    return [{ loc, text: template, ...("fault" in read ? read : { reference: read }) }];
  }
  if (typeof template !== "object" || template === null) return [];
  return entriesOf(template).flatMap(([name, value]) => referencesOf(value, [...loc, name]));
}

/** A resolved template, or the first reference that has no value. */
export type Resolved<T extends Json> =
  | { value: T }
  | { unresolved: { loc: TemplatePath; text: string; why: string } };

/**
 * Replaces the references of a template by their values. Only own fields are found: no `length`, no
 * prototype.
 *
 * @param sourceOf returns the value of a source; `undefined` when there is none with that name
 */
export function resolveReferences<T extends Json>(
  template: T,
  sourceOf: (source: string) => Json | undefined,
): Resolved<T> {
  let unresolved: { loc: TemplatePath; text: string; why: string } | undefined;
  const walk = (value: Json, loc: TemplatePath): Json => {
    if (typeof value === "string") {
      if (!value.startsWith("$")) return value;
      const found = lookUp(value, sourceOf);
      if ("value" in found) return found.value;
      unresolved ??= { loc, text: value, why: found.why };
      return null;
    }
    if (typeof value !== "object" || value === null) return value;
    if (Array.isArray(value)) return value.map((item, index) => walk(item, [...loc, index]));
    const made: JsonObject = {};
    // An assignment to `__proto__` would set the prototype instead of a field.
    for (const [name, inner] of Object.entries(value)) {
      Object.defineProperty(made, name, {
        value: walk(inner, [...loc, name]),
        enumerable: true,
        writable: true,
        configurable: true,
      });
    }
    return made;
  };
  const value = walk(template, []) as T;
  return unresolved ? { unresolved } : { value };
}

function lookUp(
  text: string,
  sourceOf: (source: string) => Json | undefined,
): { value: Json } | { why: string } {
  const reference = parseReference(text);
  if ("fault" in reference) return { why: reference.fault };
  const found = sourceOf(reference.source);
  if (found === undefined) return { why: `there is no ${quoted(reference.source)}` };
  let value: Json = found;
  let walked = `$${reference.source}`;
  for (const part of reference.path) {
    const next: Json | undefined = typeof part === "number" ? itemAt(value, part) : fieldOf(value, part);
    if (next === undefined)
      return {
        why:
          `${walked} is ${kindOf(value)} without ` +
          (typeof part === "number" ? `item ${part}` : quoted(part)),
      };
    value = next;
    walked += `.${part}`;
  }
  return { value };
}

const itemAt = (value: Json, index: number): Json | undefined =>
  Array.isArray(value) ? value[index] : undefined;

const fieldOf = (value: Json, field: string): Json | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) && Object.hasOwn(value, field)
    ? value[field]
    : undefined;

const kindOf = (value: Json): string =>
  value === null
    ? "null"
    : Array.isArray(value)
      ? `a list of ${value.length}`
      : typeof value === "object"
        ? "an object"
        : `a ${typeof value === "bigint" ? "number" : typeof value}`;

const entriesOf = (value: Json[] | JsonObject): [string | number, Json][] =>
  Array.isArray(value) ? value.map((item, index) => [index, item]) : Object.entries(value);

const quoted = (text: string): string => writeJson(text.length > 120 ? `${text.slice(0, 120)}…` : text);
