/** Makes a JSON Schema that stands alone of one in an OpenAPI document. */
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { isSchemaWord, WITH_SCHEMA, WITH_SCHEMAS, WITH_TABLE } from "../schemas/schema-words.ts";

const DIALECT = "https://json-schema.org/draft/2020-12/schema";
const COMPONENTS = "#/components/schemas/";

/**
 * Copies a schema of a document together with all that it refers to, which moves to `$defs`. Words of OpenAPI
 * 3.0 become those of JSON Schema (`nullable`, bounds that are booleans); a word that nothing reads gets the
 * prefix `x-`.
 *
 * Throws for a reference out of the document's components, and for a schema that contains itself.
 */
export function standaloneSchema(schema: Json, document: JsonObject): JsonSchema {
  const copy = new SchemaCopy(document);
  let root: Json | undefined = copy.convert(schema);
  // fal's documents name the schema of an input by a reference.
  for (let name = referenceOf(root); name !== undefined; name = referenceOf(root)) root = copy.take(name);
  if (!isObject(root)) return {};
  const { $schema: _, ...rest } = root;
  const definitions = copy.definitions();
  return {
    $schema: DIALECT,
    ...rest,
    ...(Object.keys(definitions).length > 0 && { $defs: definitions }),
  };
}

/** Gives the definition that a schema consists of; `undefined` when it has words of its own. */
function referenceOf(schema: Json | undefined): string | undefined {
  if (!isObject(schema)) return undefined;
  const { $ref, allOf, ...others } = schema;
  if (Object.keys(others).length > 0) return undefined;
  if (Array.isArray(allOf) && allOf.length === 1 && $ref === undefined) return referenceOf(allOf[0]);
  return typeof $ref === "string" && allOf === undefined ? $ref.slice("#/$defs/".length) : undefined;
}

class SchemaCopy {
  readonly #components: JsonObject;
  readonly #definitions = new Map<string, Json>();
  /** Definitions that are being converted, each within the one before it. */
  readonly #open: string[] = [];

  constructor(document: JsonObject) {
    const components = isObject(document.components) ? document.components.schemas : undefined;
    this.#components = isObject(components) ? components : {};
  }

  definitions(): JsonObject {
    return Object.fromEntries(this.#definitions);
  }

  /** Removes a definition and returns it. */
  take(name: string): Json | undefined {
    const schema = this.#definitions.get(name);
    this.#definitions.delete(name);
    return schema;
  }

  convert(schema: Json): Json {
    if (!isObject(schema)) return schema;
    const entries = Object.entries(schema).map(([word, value]): [string, Json] => {
      if (word === "$ref") return [word, this.#reference(value)];
      if (WITH_TABLE.includes(word) && isObject(value)) return [word, this.#convertTable(value)];
      if (WITH_SCHEMAS.includes(word) && Array.isArray(value))
        return [word, value.map((part) => this.convert(part))];
      if (WITH_SCHEMA.includes(word)) return [word, this.convert(value)];
      return [isSchemaWord(word) ? word : `x-${word}`, value];
    });
    return withoutOpenapiWords(Object.fromEntries(entries));
  }

  #convertTable(table: JsonObject): JsonObject {
    return Object.fromEntries(Object.entries(table).map(([name, part]) => [name, this.convert(part)]));
  }

  #reference(value: Json): string {
    const text = String(value).slice(0, 100);
    const name = text.startsWith(COMPONENTS) ? text.slice(COMPONENTS.length) : "";
    if (!Object.hasOwn(this.#components, name))
      throw new Error(`refers to "${text}", which is no schema of the document's components`);
    if (this.#open.includes(name)) throw new Error(`contains itself by "${text}"`);
    if (this.#open.length >= LIMITS.schemaDepthMax)
      throw new Error(`is nested deeper than ${LIMITS.schemaDepthMax} references`);
    if (!this.#definitions.has(name)) {
      this.#open.push(name);
      const converted = this.convert(this.#components[name] as Json);
      this.#open.pop();
      this.#definitions.set(name, converted);
    }
    return `#/$defs/${name}`;
  }
}

/** Writes what OpenAPI 3.0 has of its own in words of JSON Schema. */
function withoutOpenapiWords({ nullable, ...schema }: JsonObject): JsonObject {
  for (const [bound, exclusive] of [
    ["minimum", "exclusiveMinimum"],
    ["maximum", "exclusiveMaximum"],
  ] as const) {
    if (typeof schema[exclusive] !== "boolean") continue;
    const { [exclusive]: isExclusive, [bound]: value, ...rest } = schema;
    schema = rest;
    if (value !== undefined) schema[isExclusive ? exclusive : bound] = value;
  }
  if (nullable !== true) return schema;
  const { title, description, default: fallback, ...rest } = schema;
  const words = { title, description, default: fallback };
  const own = Object.fromEntries(Object.entries(words).filter(([, value]) => value !== undefined));
  return { ...(own as JsonObject), anyOf: [rest, { type: "null" }] };
}
