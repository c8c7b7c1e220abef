/**
 * The review of a valid model package: what a start accepts, and what is most likely a slip. It names words
 * that nothing reads, and values that the version itself refuses.
 */

import { findNearestName } from "../../core/errors/nearest-name.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import type { VersionContent } from "../../core/models/published-version.ts";
import { createSchemaCheck } from "../schema-check.ts";
import {
  isSchemaWord,
  SCHEMA_WORDS,
  WITH_SCHEMA,
  WITH_SCHEMAS,
  WITH_TABLE,
} from "../schemas/schema-words.ts";

/** The runners of each engine, by the engine's name; `undefined` where they are not known. */
export type EngineRunners = Record<string, readonly string[] | undefined>;

type Reviewed = Pick<VersionContent, "engine" | "runner" | "schemas" | "restrictions">;

/** Lists what is wrong with a version, each in a sentence that names the file. */
export function reviewModel(model: Reviewed, engines: EngineRunners): string[] {
  const { schemas, restrictions } = model;
  return [
    ...engineFaults(model, engines),
    ...(["input", "output"] as const).flatMap((name) => wordFaults(schemas[name], `${name}.json: `)),
    ...restrictions.flatMap(({ field, accepts }) =>
      wordFaults(accepts, `model.yaml: /restrictions/${field}/accepts`),
    ),
    ...defaultFaults(model),
  ];
}

function engineFaults({ engine, runner }: Reviewed, engines: EngineRunners): string[] {
  if (!Object.hasOwn(engines, engine))
    return [
      `model.yaml: /engine "${engine}" is no engine` +
        hint(engine, Object.keys(engines), "; name its program in engines.programs of the configuration"),
    ];
  const runners = engines[engine];
  if (!runners || runners.includes(runner)) return [];
  return [`model.yaml: /runner "${runner}" is no runner of the engine ${engine}${hint(runner, runners)}`];
}

/** Names the nearest name, or else all, with the remedy. */
const hint = (name: string, names: readonly string[], remedy = ""): string => {
  const nearest = findNearestName(name, names);
  return nearest ? `; did you mean "${nearest}"?` : ` (${names.join(", ")})${remedy}`;
};

/** Finds the words of a schema that nothing reads. Words of one's own begin with `x-`. */
function wordFaults(schema: Json | undefined, path: string): string[] {
  if (!isObject(schema)) return [];
  return Object.entries(schema).flatMap(([word, value]): string[] => {
    const here = `${path}/${word}`;
    if (WITH_TABLE.includes(word) && isObject(value))
      return Object.entries(value).flatMap(([name, part]) => wordFaults(part, `${here}/${name}`));
    if (WITH_SCHEMAS.includes(word) && Array.isArray(value))
      return value.flatMap((part, index) => wordFaults(part, `${here}/${index}`));
    if (WITH_SCHEMA.includes(word)) return wordFaults(value, here);
    if (isSchemaWord(word)) return [];
    const nearest = findNearestName(word, SCHEMA_WORDS);
    const remedy = nearest ? `did you mean "${nearest}"?` : "a word of your own begins with x-";
    return [`${here} is not a word of JSON Schema, and nothing reads it; ${remedy}`];
  });
}

/**
 * Finds defaults that the field's own schema or a restriction refuses: no call without the field would work.
 */
function defaultFaults({ schemas, restrictions }: Reviewed): string[] {
  const fields = isObject(schemas.input.properties) ? schemas.input.properties : {};
  const refused = (schema: JsonObject, value: Json): string | undefined => {
    const { $defs = {}, definitions = {}, components = {} } = schemas.input;
    const check = createSchemaCheck({ $defs, definitions, components, ...schema }, { every: false });
    return check(structuredClone(value))?.[0]?.msg;
  };
  const own = Object.entries(fields).flatMap(([name, field]) => {
    if (!isObject(field) || field.default === undefined) return [];
    const msg = refused(field, field.default);
    return msg === undefined
      ? []
      : [`input.json: /properties/${name}/default does not fit its field: ${msg}`];
  });
  const restricted = restrictions.flatMap(({ field, accepts }) => {
    const schema = Object.hasOwn(fields, field) ? fields[field] : undefined;
    if (!isObject(schema) || schema.default === undefined) return [];
    if (refused(accepts as JsonObject, schema.default) === undefined) return [];
    const value = writeJson(schema.default);
    return [
      `model.yaml: /restrictions/${field} refuses ${value}, which is the field's default in input.json`,
    ];
  });
  return [...own, ...restricted];
}
