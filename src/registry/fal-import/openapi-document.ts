/**
 * Reads fal's OpenAPI document of an endpoint: the queue's, which has the input at `POST /<endpoint>` and the
 * output at `GET /<endpoint>/requests/{request_id}`, or one that has both at the same path.
 */
import { parseJson } from "../../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import { jsonExcess } from "../../core/json/json-bounds.ts";
import { LIMITS } from "../../core/limits.ts";
import { appOf } from "../../core/models/endpoint.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import { standaloneSchema } from "./openapi-schema.ts";

/** The public face of an endpoint of fal. */
export interface EndpointContract {
  title: string;
  description: string;
  /** In fal's terms: text-to-image, image-to-video, … */
  category: string;
  input: JsonSchema;
  output: JsonSchema;
}

/** Reads a document. Throws an error of one line, which names the document's fault and the remedy. */
export function readOpenapi(text: string, endpoint: string): EndpointContract {
  const document = parseDocument(text);
  const paths = isObject(document.paths) ? document.paths : {};
  const path = `/${endpoint}`;
  if (!isObject(paths[path])) throw new Error(otherEndpoint(endpoint, paths));
  const input = contentOf(at(paths, path, "post", "requestBody"));
  // The queue answers a submit with a status.
  const isOfQueue = Object.keys(paths).some((other) => other.includes("/requests/"));
  const output = isOfQueue
    ? [`${path}/requests/{request_id}`, `/${appOf(endpoint)}/requests/{request_id}`]
        .map((result) => contentOf(at(paths, result, "get", "responses", "200")))
        .find((schema) => schema !== undefined)
    : contentOf(at(paths, path, "post", "responses", "200"));
  const category = at(document, "info", "x-fal-metadata", "category");
  return {
    // The document's own title and description are about the document.
    title: endpoint,
    description: `Serves fal's schema of ${endpoint}.`,
    category: typeof category === "string" && category !== "" ? category.slice(0, 100) : "other",
    input: objectSchema("input", input, document),
    output: objectSchema("output", output, document),
  };
}

function parseDocument(text: string): JsonObject {
  const { schemaBytesMax: bytesMax, schemaDepthMax: depthMax, schemaValuesMax: valuesMax } = LIMITS;
  if (Buffer.byteLength(text) > bytesMax)
    throw new Error(`is larger than ${bytesMax / 1024 ** 2} MiB; write its schemas by hand`);
  const excess = jsonExcess(text, { depthMax, valuesMax, fieldsMax: valuesMax });
  if (excess === "depth")
    throw new Error(`is nested deeper than ${depthMax} levels; write its schemas by hand`);
  if (excess) throw new Error(`has more than ${valuesMax} values; write its schemas by hand`);
  let document: Json;
  try {
    document = parseJson(text);
  } catch {
    throw new Error("is not JSON; save the OpenAPI document itself, and not a page about it");
  }
  if (!isObject(document) || typeof document.openapi !== "string")
    throw new Error('is no OpenAPI document: it has no "openapi"');
  return document;
}

function otherEndpoint(endpoint: string, paths: JsonObject): string {
  const others = Object.entries(paths)
    .filter(([, operations]) => isObject(operations) && operations.post !== undefined)
    .map(([path]) => path.slice(1, 100));
  const named = others.length > 0 ? `it is of ${others.slice(0, 3).join(", ")}` : "it has no input schema";
  return `has no POST /${endpoint}: ${named}; check the endpoint's name`;
}

const at = (value: Json | undefined, ...names: string[]): Json | undefined =>
  names.reduce<Json | undefined>(
    (found, name) => (isObject(found) && Object.hasOwn(found, name) ? found[name] : undefined),
    value,
  );

const contentOf = (body: Json | undefined): Json | undefined =>
  at(body, "content", "application/json", "schema");

function objectSchema(name: "input" | "output", schema: Json | undefined, document: JsonObject): JsonSchema {
  if (schema === undefined) throw new Error(`has no ${name} schema; write ${name}.json by hand`);
  let standalone: JsonSchema;
  try {
    standalone = standaloneSchema(schema, document);
  } catch (error) {
    throw new Error(`its ${name} schema ${(error as Error).message}; write ${name}.json by hand`);
  }
  if (!isObject(standalone.properties))
    throw new Error(`its ${name} schema lists no fields; write ${name}.json by hand`);
  return { ...standalone, type: "object" };
}
