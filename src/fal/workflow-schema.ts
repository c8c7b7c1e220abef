/** Translates the input and output fields of a workflow definition (contract §11.3) into JSON Schema. */
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import { isSchemaType, plainSchema, type SchemaBudget } from "../core/json/plain-schema.ts";
import type { JsonSchema } from "../core/models/model.ts";

/**
 * Translates `schema.input` or `schema.output`, either fal's map of fields (`{prompt: {name, label, type,
 * required, modelId}}`) or a whole JSON Schema, which the SDK writes. An unknown type accepts any value, and
 * so does a map without fields.
 */
export function workflowSchema(raw: Json | undefined, budget: SchemaBudget): JsonSchema {
  if (isObject(raw) && raw.type === "object" && isObject(raw.properties))
    return plainSchema(raw, raw, budget);
  const fields = Object.entries(isObject(raw) ? raw : {}).filter(
    (entry): entry is [string, JsonObject] => isObject(entry[1]) && entry[0] !== "__proto__",
  );
  if (fields.length === 0) return { type: "object", additionalProperties: true };
  return {
    type: "object",
    required: fields
      .filter(([, field]) => field.required === true && field.default === undefined)
      .map(([name]) => name),
    "x-fal-order-properties": fields.map(([name]) => name),
    properties: Object.fromEntries(fields.map(([name, field]) => [name, fieldSchema(field, budget)])),
  };
}

/** Translates one field of fal's map. `type` is a name, or `{kind: "list", elementType}`. */
function fieldSchema({ label, type, ...rest }: JsonObject, budget: SchemaBudget): JsonSchema {
  return {
    ...(typeof label === "string" && { title: label }),
    ...plainSchema(rest, {}, budget),
    ...typeSchema(type, 0),
  };
}

const KINDS_DEEP_MAX = 8;

function typeSchema(type: Json | undefined, depth: number): JsonSchema {
  if (type === "list") return { type: "array" };
  if (typeof type === "string") return isSchemaType(type) ? { type } : {};
  if (!isObject(type) || depth > KINDS_DEEP_MAX) return {};
  if (type.kind === "list") return { type: "array", items: typeSchema(type.elementType, depth + 1) };
  return typeSchema(typeof type.kind === "string" ? type.kind : undefined, depth);
}
