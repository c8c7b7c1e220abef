/**
 * Finds schemas that take exponentially long to check. A schema that contains itself once is checked once at
 * each level of a nested value. One that contains itself in two ways, such as in two branches of a union, is
 * checked twice as often at every further level: a value of 18 levels took a minute of the event loop.
 */
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import { resolvePointer } from "../../core/json/plain-schema.ts";
import type { JsonSchema, ModelVersion } from "../../core/models/model.ts";

/** Keywords with a list of schemas that all apply to the value itself. */
const UNIONS = ["anyOf", "oneOf", "allOf"];
/** Keywords with one schema that applies to the value itself. */
const CONDITIONS = ["if", "then", "else", "not"];

type Container = "object" | "array";

/** A way in which a schema applies others to a value or its parts: at most one of `parts` to each of them. */
interface Way {
  parts: Json[];
  /** Values that the way concerns. */
  of: Container[];
}

/** Words what is wrong with an input schema, or a restriction, that contains itself in several ways. */
export function recursionFault({
  schemas,
  restrictions,
}: Pick<ModelVersion, "schemas" | "restrictions">): string | undefined {
  const [path] = [schemas.input, ...restrictions.map(({ accepts }) => accepts)].flatMap(
    (schema) => findBranchingRecursion(schema) ?? [],
  );
  return (
    path &&
    `takes too long to check: ${path} contains itself in several ways, such as in two branches of anyOf; ` +
      "let it contain itself in one of them, or give them unlike types"
  );
}

/**
 * Names the path of a schema that contains itself in several ways, as a JSON Pointer without its `#/`, for
 * instance `$defs/Tree`; "the schema" for the root.
 */
export function findBranchingRecursion(root: JsonSchema): string | undefined {
  const paths = schemasIn(root);
  const ways = new Map([...paths.keys()].map((schema) => [schema, waysOf(schema, root)]));
  const loops = loopsAmong(ways);
  for (const [schema, path] of paths) {
    const loop = loops.get(schema);
    const again =
      ways.get(schema)?.filter(({ parts }) => parts.some((part) => loops.get(part) === loop)) ?? [];
    const isBranching = (container: Container) => again.filter(({ of }) => of.includes(container)).length > 1;
    if (isBranching("object") || isBranching("array")) return path || "the schema";
  }
  return undefined;
}

function waysOf(schema: JsonObject, root: JsonSchema): Way[] {
  const references = [schema.$ref, schema.$dynamicRef].filter((value) => typeof value === "string");
  const ofValue = [
    ...UNIONS.flatMap((word) => listOf(schema[word])),
    ...CONDITIONS.flatMap((word) => schema[word] ?? []),
    ...valuesOf(schema.dependentSchemas),
    ...references.map((reference) => resolvePointer(root, reference) ?? root),
  ];
  const { additionalProperties = true, unevaluatedProperties = true, items = true } = schema;
  const { unevaluatedItems = true, contains = true } = schema;
  const ofFields = [...valuesOf(schema.properties), additionalProperties, unevaluatedProperties];
  return [
    ...ofValue.map((part) => ({ parts: [part], of: containersOf(part, root) })),
    ...[ofFields, ...valuesOf(schema.patternProperties).map((part) => [part])].map(
      (parts): Way => ({ parts, of: ["object"] }),
    ),
    ...[[...listOf(schema.prefixItems), ...[items].flat(), unevaluatedItems], [contains]].map(
      (parts): Way => ({ parts, of: ["array"] }),
    ),
  ];
}

const listOf = (value: Json | undefined): Json[] => (Array.isArray(value) ? value : []);
const valuesOf = (value: Json | undefined): Json[] => (isObject(value) ? Object.values(value) : []);

/** Tells which containers a schema may accept, by its `type`. */
function containersOf(part: Json, root: JsonSchema): Container[] {
  let schema: Json | undefined = part;
  const seen = new Set<Json>();
  while (isObject(schema) && schema.type === undefined && typeof schema.$ref === "string") {
    if (seen.has(schema)) break;
    seen.add(schema);
    schema = resolvePointer(root, schema.$ref);
  }
  const types = isObject(schema) && schema.type !== undefined ? [schema.type].flat() : ["object", "array"];
  return (["object", "array"] as const).filter((container) => types.includes(container));
}

/**
 * Gives each schema the number of its loop: schemas of one number, and no others, contain one another
 * (Tarjan's strongly connected components).
 */
function loopsAmong(ways: ReadonlyMap<Json, readonly Way[]>): Map<Json, number> {
  const loops = new Map<Json, number>();
  const entered = new Map<Json, number>();
  const open: Json[] = [];
  /** Gives the earliest of the open schemas that are reached from this one. */
  const enter = (schema: Json): number => {
    const own = entered.size;
    entered.set(schema, own);
    open.push(schema);
    let earliest = own;
    for (const part of ways.get(schema)?.flatMap(({ parts }) => parts) ?? [])
      if (!loops.has(part) && ways.has(part)) earliest = Math.min(earliest, entered.get(part) ?? enter(part));
    if (earliest === own) for (const closed of open.splice(open.indexOf(schema))) loops.set(closed, own);
    return earliest;
  };
  for (const schema of ways.keys()) if (!entered.has(schema)) enter(schema);
  return loops;
}

/** Lists all schemas of a document with their paths, those that only a reference leads to included. */
function schemasIn(root: JsonSchema): Map<JsonObject, string> {
  const paths = new Map<JsonObject, string>();
  const visit = (value: Json | undefined, path: string): void => {
    if (isObject(value) ? paths.has(value) : !Array.isArray(value)) return;
    if (isObject(value)) paths.set(value, path.slice(1));
    for (const [word, inner] of Object.entries(value as JsonObject | Json[])) visit(inner, `${path}/${word}`);
  };
  visit(root, "");
  return paths;
}
