import type { InputFault } from "../core/errors/tempera-error.ts";
import type { DraftNode, Location } from "../core/pipelines/parsed-graph.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import type { JsonSchema } from "../core/models/model.ts";
import { referencesOf } from "../core/pipelines/references.ts";
import { briefly, type ReferenceType } from "./reference-type.ts";
import { createSchemaCheck, type SchemaCheck } from "./schema-check.ts";
import { canFeed, typeInWords, typeOfValue, typeWithin, type ValueType } from "./value-type.ts";

/**
 * What is wrong with the input of a node, given the schema of what it calls and what its references stand
 * for.
 */
export type NodeInputCheck = (node: DraftNode, schema: JsonSchema, typeOf: ReferenceType) => InputFault[];

/** Checks of written-out values are kept from one definition to the next: each costs milliseconds to make. */
export function createNodeInputCheck(): NodeInputCheck {
  const checks = new WeakMap<JsonSchema, SchemaCheck>();

  return (node, schema, typeOf) => {
    const faults: InputFault[] = [];
    if (!isObject(node.value)) return faults;
    const { properties = {}, required = [] } = schema as { properties?: JsonObject; required?: string[] };
    for (const name of required) {
      if (!Object.hasOwn(node.value, name))
        faults.push({ loc: [...node.valueLoc, name], msg: "Field required", type: "missing" });
    }
    const literals: JsonObject = {};
    for (const [name, value] of Object.entries(node.value)) {
      // Models set aside what they do not know.
      if (!Object.hasOwn(properties, name)) continue;
      if (referencesOf(value).length === 0) literals[name] = structuredClone(value);
      else
        faults.push(
          ...templateFaults(
            value,
            { schema: properties[name] as Json, root: schema },
            [...node.valueLoc, name],
            typeOf,
          ),
        );
    }
    if (Object.keys(literals).length === 0) return faults;
    const written = literalCheck(schema)(literals) ?? [];
    return [
      ...faults,
      ...written.map((fault) => ({ ...fault, loc: [...node.valueLoc, ...fault.loc.slice(1)] })),
    ];
  };

  /** Checks some fields of an input: nothing that speaks of the whole. */
  function literalCheck(schema: JsonSchema): SchemaCheck {
    const known = checks.get(schema);
    if (known) return known;
    const { type, properties, $defs, definitions, components } = schema;
    const parts = Object.entries({ type, properties, $defs, definitions, components }).filter(
      ([, part]) => part !== undefined,
    );
    const check = createSchemaCheck(Object.fromEntries(parts) as JsonSchema, { every: true });
    checks.set(schema, check);
    return check;
  }
}

/** A value with references in it against what its place takes. */
function templateFaults(value: Json, target: ValueType, loc: Location, typeOf: ReferenceType): InputFault[] {
  const wrong = (msg: string): InputFault[] => [{ loc, msg: `Value error, ${msg}`, type: "value_error" }];
  const [reference] = typeof value === "string" ? referencesOf(value) : [];
  if (reference) {
    // Whatever is wrong with the reference itself is said elsewhere.
    const type = "reference" in reference ? typeOf(reference.reference) : { fault: "" };
    if ("fault" in type || canFeed(type, target)) return [];
    const better = betterReference(reference.text, type, target);
    const advice = better ? `; '${briefly(better)}' would fit` : "";
    return wrong(
      `'${briefly(reference.text)}' is ${typeInWords(type)}, and here belongs ${typeInWords(target)}${advice}`,
    );
  }
  if (!canFeed(typeOfValue(value), target))
    return wrong(`this is ${typeInWords(typeOfValue(value))}, and here belongs ${typeInWords(target)}`);
  if (typeof value !== "object" || value === null) return [];
  const parts: [string | number, Json][] = Array.isArray(value)
    ? value.map((item, at) => [at, item])
    : Object.entries(value);
  return parts.flatMap(([part, inner]) => {
    const inside = typeWithin(target, part);
    return inside ? templateFaults(inner, inside, [...loc, part], typeOf) : [];
  });
}

/** A longer reference that would fit: people send the file where its address belongs. */
function betterReference(text: string, type: ValueType, target: ValueType): string | undefined {
  for (const path of [["url"], [0], [0, "url"]]) {
    let at: ValueType | undefined = type;
    for (const part of path) at = at && typeWithin(at, part);
    if (at && at.schema !== true && canFeed(at, target)) return [text, ...path].join(".");
  }
  return undefined;
}
