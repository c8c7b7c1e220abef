import { isObject, type Json } from "../core/json/json.ts";
import { plainSchema } from "../core/json/plain-schema.ts";
import { LIMITS } from "../core/limits.ts";
import type { JsonSchema } from "../core/models/model.ts";
import type { ParsedGraph } from "../core/pipelines/parsed-graph.ts";
import { referencesOf } from "../core/pipelines/references.ts";
import type { ReferenceType } from "./reference-type.ts";
import { typeOfValue } from "./value-type.ts";

/** Deeper than this, the schema of an output accepts any value. */
const DEPTH_MAX = 8;

/**
 * Derives the schema of a definition's output from the types of its sources, with the titles and
 * descriptions of the definition.
 */
export function graphOutputSchema(
  { output, outputFields }: Pick<ParsedGraph, "output" | "outputFields">,
  typeOf: ReferenceType,
): JsonSchema {
  const budget = { left: LIMITS.pipelineOutputPartsMax, entriesLeft: LIMITS.pipelineSchemaEntriesMax };
  return schemaOf(output, 0);

  function schemaOf(value: Json, depth: number): JsonSchema {
    const [reference] = typeof value === "string" ? referencesOf(value) : [];
    const type = reference && "reference" in reference ? typeOf(reference.reference) : undefined;
    if (type) return "fault" in type ? {} : plainSchema(type.schema, type.root, budget);
    budget.left -= 1;
    if (budget.left < 0) return {};
    if (!isObject(value) || depth > DEPTH_MAX) return typeOfValue(value).schema as JsonSchema;
    const fields = Object.entries(value);
    return {
      type: "object",
      required: fields.map(([name]) => name),
      "x-fal-order-properties": fields.map(([name]) => name),
      properties: Object.fromEntries(
        fields.map(([name, field]) => [
          name,
          { ...schemaOf(field, depth + 1), ...(depth === 0 && wordsOf(name)) },
        ]),
      ),
    };
  }

  function wordsOf(name: string): JsonSchema {
    const { title, description } = Object.hasOwn(outputFields, name) ? (outputFields[name] ?? {}) : {};
    return { ...(title !== undefined && { title }), ...(description !== undefined && { description }) };
  }
}
