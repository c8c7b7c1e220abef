/**
 * A reference is a string that stands for a value of a pipeline's input or of a node's output:
 * `$input.prompt`, `$image.images.0.url` (contract §11.4). It is the whole string: nothing is put into the
 * middle of a text. Every string that begins with `$` is one, so a text that does cannot be written in a
 * definition, only come from the input. Imported by workflow code: pure functions only.
 */
import type { Json, JsonObject } from "../json/json.ts";

export interface Reference {
  /** As it is written. */
  text: string;
  /** `input`, or the node whose output is meant. */
  source: string;
  /** Names are fields, numbers are places in a list. */
  path: (string | number)[];
}

/** Where something stands within a template. */
export type TemplatePath = (string | number)[];

/** A reference as it stands in a template, or a string that begins like one and is none. */
export type FoundReference = { loc: TemplatePath; text: string } & (
  | { reference: Reference }
  | { fault: string }
);

/** The name that stands for what the caller gave. No node may be called so. */
export const INPUT_SOURCE = "input";

/** Nodes' names have hyphens in fal's own examples; those of other languages than English are names too. */
const SOURCE = /^[\p{ID_Continue}][\p{ID_Continue}-]*$/u;
const FIELD = /^[\p{ID_Start}_][\p{ID_Continue}]*$/u;
const PLACE = /^\d{1,9}$/;

/** Whether a node may have this name: what can be referred to. */
export const isNodeName = (name: string): boolean => SOURCE.test(name) && name !== INPUT_SOURCE;

/** Reads a string that begins with `$`. */
export function parseReference(text: string): Reference | { fault: string } {
  const [source = "", ...parts] = text.slice(1).split(".");
  if (!SOURCE.test(source)) {
    return {
      fault: `${quoted(text)} begins with $ and is no reference; one reads $input.field or $node.field.0.field`,
    };
  }
  const path: (string | number)[] = [];
  for (const part of parts) {
    if (PLACE.test(part)) path.push(Number(part));
    else if (FIELD.test(part)) path.push(part);
    else
      return {
        fault: `${quoted(text)} has ${quoted(part)} where a field's name or a place in a list belongs`,
      };
  }
  return { text, source, path };
}

/** Every string of a template that begins with `$`, with its place, in the order in which they stand. */
export function referencesOf(template: Json, loc: TemplatePath = []): FoundReference[] {
  if (typeof template === "string") {
    if (!template.startsWith("$")) return [];
    const read = parseReference(template);
    return [{ loc, text: template, ...("fault" in read ? read : { reference: read }) }];
  }
  if (typeof template !== "object" || template === null) return [];
  return entriesOf(template).flatMap(([name, value]) => referencesOf(value, [...loc, name]));
}

/** A template with its values, or the first reference that leads nowhere. */
export type Resolved<T extends Json> =
  | { value: T }
  | { unresolved: { loc: TemplatePath; text: string; why: string } };

/**
 * Puts values in the place of a template's references. Only what is a value's own is found: no `length`, no
 * prototype.
 *
 * @param sourceOf what a source stands for; `undefined`: there is none of that name
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
    // Not assigned, so that a field called `__proto__` stays one.
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
    const next: Json | undefined = typeof part === "number" ? placeOf(value, part) : fieldOf(value, part);
    if (next === undefined)
      return {
        why: `${walked} is ${kindOf(value)} without ${typeof part === "number" ? `place ${part}` : quoted(part)}`,
      };
    value = next;
    walked += `.${part}`;
  }
  return { value };
}

const placeOf = (value: Json, place: number): Json | undefined =>
  Array.isArray(value) ? value[place] : undefined;

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
        : `a ${typeof value}`;

const entriesOf = (value: Json[] | JsonObject): [string | number, Json][] =>
  Array.isArray(value) ? value.map((item, index) => [index, item]) : Object.entries(value);

const quoted = (text: string): string => JSON.stringify(text.length > 120 ? `${text.slice(0, 120)}…` : text);
