import type { InputFault } from "../core/errors/tempera-error.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import type { JsonSchema } from "../core/models/model.ts";
import type { Location, ParsedNode } from "../core/pipelines/parsed-graph.ts";
import { referencesOf } from "../core/pipelines/references.ts";
import { missingField, unknownFields } from "./missing-field.ts";
import { type ReferenceType, shorten } from "./reference-type.ts";
import { createSchemaCheck, type SchemaCheck } from "./schema-check.ts";
import type { SchemaThread } from "./schema-thread/schema-thread.ts";
import { canFeed, typeInWords, typeOfValue, typeWithin, type ValueType } from "./value-type.ts";

/**
 * Checks the input of a node against the schema of the endpoint that it calls, as far as the types of its
 * references are known. Returns the faults.
 */
export type NodeInputCheck = (
  node: ParsedNode,
  target: NodeTarget,
  typeOf: ReferenceType,
) => Promise<InputFault[]>;

/** The endpoint that a node calls. */
export interface NodeTarget {
  input: JsonSchema;
  /**
   * The owner whose definition calls it, when it is a saved pipeline: an owner wrote its schemas, so they are
   * checked in another thread, in the caller's turn.
   */
  callerId?: string | undefined;
}

/** Compiled checks of literal values are reused from one definition to the next: each takes milliseconds. */
export function createNodeInputCheck(schemaThread: Pick<SchemaThread, "checkLiterals">): NodeInputCheck {
  const checks = new WeakMap<JsonSchema, SchemaCheck>();

  return async (node, { input: schema, callerId }, typeOf) => {
    const faults: InputFault[] = [];
    if (!isObject(node.value)) return faults;
    const { properties = {}, required = [] } = schema as { properties?: JsonObject; required?: string[] };
    for (const name of required) {
      if (!Object.hasOwn(node.value, name))
        faults.push(missingField(node.valueLoc, name, unknownFields(node.value, properties)));
    }
    const literals: JsonObject = {};
    for (const [name, value] of Object.entries(node.value)) {
      // Models ignore unknown fields.
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
    const fields = fieldsAlone(schema);
    const written = callerId
      ? await schemaThread.checkLiterals({ ownerId: callerId, schema: fields }, literals)
      : (literalCheck(schema, fields)(literals) ?? []);
    return [
      ...faults,
      ...written.map((fault) => ({ ...fault, loc: [...node.valueLoc, ...fault.loc.slice(1)] })),
    ];
  };

  function literalCheck(schema: JsonSchema, fields: JsonSchema): SchemaCheck {
    const check = checks.get(schema) ?? createSchemaCheck(fields, { every: true });
    checks.set(schema, check);
    return check;
  }
}

/** Gives a schema of single fields, without the keywords that concern the whole input. */
function fieldsAlone({ type, properties, $defs, definitions, components }: JsonSchema): JsonSchema {
  const parts = Object.entries({ type, properties, $defs, definitions, components });
  return Object.fromEntries(parts.filter(([, part]) => part !== undefined)) as JsonSchema;
}

/** Checks a value with references against the type that its position accepts. */
function templateFaults(value: Json, target: ValueType, loc: Location, typeOf: ReferenceType): InputFault[] {
  const wrong = (msg: string): InputFault[] => [{ loc, msg: `Value error, ${msg}`, type: "value_error" }];
  const [reference] = typeof value === "string" ? referencesOf(value) : [];
  if (reference) {
    // A fault of the reference itself is reported by the compiler.
    const type = "reference" in reference ? typeOf(reference.reference) : { fault: "" };
    if ("fault" in type || canFeed(type, target)) return [];
    const better = betterReference(reference.text, type, target);
    const advice = better ? `; '${shorten(better)}' would fit` : "";
    return wrong(
      `'${shorten(reference.text)}' is ${typeInWords(type)}, ` +
        `but this field takes ${typeInWords(target)}${advice}`,
    );
  }
  if (!canFeed(typeOfValue(value), target))
    return wrong(`this is ${typeInWords(typeOfValue(value))}, but this field takes ${typeInWords(target)}`);
  if (typeof value !== "object" || value === null) return [];
  const parts: [string | number, Json][] = Array.isArray(value)
    ? value.map((item, at) => [at, item])
    : Object.entries(value);
  return parts.flatMap(([part, inner]) => {
    const inside = typeWithin(target, part);
    return inside ? templateFaults(inner, inside, [...loc, part], typeOf) : [];
  });
}

/** Finds a longer reference that would fit: people often name a file where its address belongs. */
function betterReference(text: string, type: ValueType, target: ValueType): string | undefined {
  for (const path of [["url"], [0], [0, "url"]]) {
    let at: ValueType | undefined = type;
    for (const part of path) at = at && typeWithin(at, part);
    if (at && at.schema !== true && canFeed(at, target)) return [text, ...path].join(".");
  }
  return undefined;
}
