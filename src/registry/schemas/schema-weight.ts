/**
 * The weight of a model's schemas: an estimate of how long compiling them holds the event loop of a gateway,
 * made without compiling. One unit takes 10 to 40 µs. Words that only describe, and the entries of `enum`,
 * weigh nothing.
 */
import { isObject, type Json } from "../../core/json/json.ts";
import { resolvePointer } from "../../core/json/plain-schema.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema, ModelVersion } from "../../core/models/model.ts";

/** Each restriction has a validator of its own. */
const VALIDATOR_WEIGHT = 20;

/** Words what is wrong with an input schema that, with the restrictions, weighs too much to be served. */
export function weightFault({
  schemas,
  restrictions,
}: Pick<ModelVersion, "schemas" | "restrictions">): string | undefined {
  const weight = restrictions.reduce(
    (sum, { accepts }) => sum + VALIDATOR_WEIGHT + schemaWeight(accepts),
    schemaWeight(schemas.input),
  );
  if (weight <= LIMITS.schemaWeightMax) return undefined;
  return (
    `takes too long to compile: with the restrictions it weighs more than ` +
    `${LIMITS.schemaWeightMax}; give it fewer fields, bounds, branches of anyOf and oneOf, or patterns ` +
    "(titles, descriptions and the entries of enum weigh nothing)"
  );
}

/** Weighs a schema. Weights above `LIMITS.schemaWeightMax` are not counted to the end. */
export function schemaWeight(root: JsonSchema): number {
  let weight = partWeight(root);
  // A value that fits no branch of a union has each branch compiled again, with all that it refers to.
  for (const branch of branchesIn(root)) {
    if (weight > LIMITS.schemaWeightMax) break;
    weight += referredWeight(branch, root);
  }
  return weight;
}

/** Words whose texts and numbers are not compiled; those that begin with `x-` neither. */
const DESCRIBING = new Set(["title", "description", "$comment", "default", "enum", "example", "examples"]);

/** Weighs a value of a schema. An object may be a schema wherever it is: a reference may lead to it. */
function partWeight(part: Json, word = ""): number {
  if (Array.isArray(part)) return part.reduce<number>((sum, item) => sum + partWeight(item, word), 0);
  if (isObject(part))
    return Object.entries(part).reduce(
      (sum, [name, inner]) =>
        sum + partWeight(inner, name) + (word === "patternProperties" ? patternWeight(name) : 0),
      1,
    );
  if (DESCRIBING.has(word) || word.startsWith("x-")) return 0;
  return word === "pattern" && typeof part === "string" ? patternWeight(part) : 1;
}

/** The most repetitions that the engine for patterns accepts, also of one repetition within another. */
const REPETITIONS_MAX = 1000;

/** Weighs a pattern: the engine writes out each repetition. */
function patternWeight(pattern: string): number {
  const counts = [...pattern.matchAll(/\{(\d+)(?:,(\d*))?\}/g)].map(([, low, high]) => Number(high || low));
  const repetitions = counts.reduce((product, count) => product * Math.max(1, count), 1);
  const steps = pattern.length * Math.min(REPETITIONS_MAX, repetitions);
  return Math.ceil(5 + pattern.length / 3 + steps / 100);
}

/** Lists the branches of all unions. */
function branchesIn(part: Json): Json[] {
  if (Array.isArray(part)) return part.flatMap(branchesIn);
  if (!isObject(part)) return [];
  const own = [part.anyOf, part.oneOf].flatMap((union) => (Array.isArray(union) ? union : []));
  return [...own, ...Object.values(part).flatMap(branchesIn)];
}

/** Weighs all that a part refers to, each once. A reference that leads nowhere counts as the root. */
function referredWeight(start: Json, root: JsonSchema): number {
  const referred = new Set<Json>(
    referencesIn(start).map((reference) => resolvePointer(root, reference) ?? root),
  );
  let weight = 0;
  for (const part of referred) {
    weight += partWeight(part);
    for (const reference of referencesIn(part)) referred.add(resolvePointer(root, reference) ?? root);
  }
  return weight;
}

function referencesIn(part: Json): string[] {
  if (Array.isArray(part)) return part.flatMap(referencesIn);
  if (!isObject(part)) return [];
  const own = [part.$ref, part.$dynamicRef].filter((value) => typeof value === "string");
  return [...own, ...Object.values(part).flatMap(referencesIn)];
}
