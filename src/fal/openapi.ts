/**
 * Descriptions of one endpoint, as fal publishes them: OpenAPI 3.0 of its queue (contract §10.1) and a page
 * for language models. Pure translation.
 */
import { writeJson } from "../core/json/exact-json.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import type { ModelVersion } from "../core/models/model.ts";
import { type DescribedAction, errorAnswers, QUEUE_ERROR } from "./openapi-errors.ts";

/** The fields of a model version that its descriptions use. */
export type DescribedModel = Pick<
  ModelVersion,
  "endpoint" | "version" | "title" | "description" | "category" | "schemas"
>;

/** Base URLs for the addresses in a description, as its reader reaches them. */
export interface DescribedAt {
  /** Root of the queue tree. */
  queue: string;
  /** Root of the models' web pages. */
  web: string;
}

/** Keywords of JSON Schema 2020-12 that OpenAPI 3.0 does not have and whose loss does not matter. */
const UNKNOWN = new Set([
  "$schema",
  "$id",
  "$comment",
  "$defs",
  "definitions",
  "$anchor",
  "unevaluatedProperties",
  "dependentRequired",
  "contains",
]);

/**
 * Translates a JSON Schema into the dialect of OpenAPI 3.0: `null` becomes `nullable`, `const` an `enum` of
 * one value, exclusive bounds become booleans, `examples` one example, and references point to `components`.
 *
 * @param prefix prefix of the component names that replace the schema's `$defs`
 */
export function openapiSchema(schema: Json, prefix: string): JsonObject {
  if (!isObject(schema)) return {};
  const made: JsonObject = {};
  let nullable = false;
  for (const [name, value] of Object.entries(schema)) {
    if (UNKNOWN.has(name)) continue;
    switch (name) {
      case "$ref":
        made.$ref = String(value).replace(/^#\/(?:\$defs|definitions)\//, `#/components/schemas/${prefix}`);
        break;
      case "type": {
        const types = [value].flat();
        nullable ||= types.includes("null");
        const left = types.filter((type) => type !== "null");
        if (left.length === 1) made.type = left[0] as Json;
        else if (left.length > 1) made.anyOf = left.map((type) => ({ type }) as JsonObject);
        break;
      }
      case "const":
        made.enum = [value];
        break;
      case "examples":
        if (Array.isArray(value) && value[0] !== undefined) made.example = value[0];
        break;
      case "exclusiveMinimum":
      case "exclusiveMaximum":
        if (typeof value === "number") {
          made[name === "exclusiveMinimum" ? "minimum" : "maximum"] = value;
          made[name] = true;
        }
        break;
      case "properties":
      case "patternProperties":
        if (name === "properties" && isObject(value))
          made.properties = Object.fromEntries(
            Object.entries(value).map(([field, inner]) => [field, openapiSchema(inner, prefix)]),
          );
        break;
      case "items":
      case "not":
      case "additionalProperties":
        made[name] =
          typeof value === "boolean" && name === "additionalProperties"
            ? value
            : openapiSchema(value, prefix);
        break;
      case "prefixItems":
        made.items = { anyOf: (value as Json[]).map((inner) => openapiSchema(inner, prefix)) };
        break;
      case "anyOf":
      case "oneOf":
      case "allOf": {
        const branches = (value as Json[]).filter((branch) => !(isObject(branch) && branch.type === "null"));
        nullable ||= branches.length < (value as Json[]).length;
        const inner = branches.map((branch) => openapiSchema(branch, prefix));
        made[name] = inner;
        break;
      }
      default:
        made[name] = value;
    }
  }
  if (made.type === "array" && made.items === undefined) made.items = {};
  return nullable ? { ...made, nullable: true } : made;
}

/** Turns an endpoint into a name for its schemas: `fal-ai/qwen-image` → `QwenImage`. */
const nameOf = (endpoint: string): string =>
  endpoint
    .split("/")
    .slice(1)
    .join("-")
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join("");

function componentsOf(schema: JsonObject, name: string): JsonObject {
  const defs = { ...(schema.definitions as JsonObject), ...(schema.$defs as JsonObject) };
  const prefix = `${name}_`;
  return {
    ...Object.fromEntries(
      Object.entries(defs).map(([inner, value]) => [`${prefix}${inner}`, openapiSchema(value, prefix)]),
    ),
    [name]: { title: name, ...openapiSchema(schema, prefix) },
  };
}

const QUEUE_STATUS: JsonObject = {
  title: "QueueStatus",
  type: "object",
  required: ["status", "request_id"],
  properties: {
    status: { type: "string", enum: ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"] },
    request_id: { type: "string", description: "The id of the request." },
    response_url: { type: "string", description: "Address of its output." },
    status_url: { type: "string", description: "Address of its status." },
    cancel_url: { type: "string", description: "Cancels it." },
    logs: {
      type: "array",
      nullable: true,
      items: { type: "object", additionalProperties: true },
      description: "Its log lines, when requested.",
    },
    metrics: { type: "object", additionalProperties: true, description: "Times in seconds." },
    queue_position: { type: "integer", description: "The number of requests ahead of it." },
  },
};

const json = (schema: JsonObject): JsonObject => ({ "application/json": { schema } });
const ref = (name: string): JsonObject => ({ $ref: `#/components/schemas/${name}` });
/** Describes the answers of an action: one success, or several of one form, and its errors. */
const answers = (
  action: DescribedAction,
  { statuses = [200], description, schema }: { statuses?: number[]; description: string; schema: JsonObject },
): JsonObject => ({
  ...Object.fromEntries(statuses.map((status) => [status, { description, content: json(schema) }])),
  ...errorAnswers(action),
});
const REQUEST_ID: JsonObject = {
  name: "request_id",
  in: "path",
  required: true,
  schema: { type: "string", format: "uuid" },
};

/** Builds the whole document, which is valid OpenAPI 3.0. */
export function openapiDocument(model: DescribedModel, { queue, web }: DescribedAt): JsonObject {
  const { endpoint, schemas } = model;
  const input = `${nameOf(endpoint)}Input`;
  const output = `${nameOf(endpoint)}Output`;
  return {
    openapi: "3.0.4",
    info: {
      title: `Queue OpenAPI for ${endpoint}`,
      version: "1.0.0",
      description: model.description,
      "x-fal-metadata": {
        endpointId: endpoint,
        category: model.category,
        thumbnailUrl: "",
        playgroundUrl: `${web}/models/${endpoint}`,
        documentationUrl: `${web}/models/${endpoint}/llms.txt`,
      },
    },
    servers: [{ url: queue }],
    security: [{ apiKeyAuth: [] }],
    components: {
      securitySchemes: {
        apiKeyAuth: { type: "apiKey", in: "header", name: "Authorization", description: "Key <your key>" },
      },
      schemas: {
        QueueStatus: QUEUE_STATUS,
        QueueError: QUEUE_ERROR,
        ...componentsOf(schemas.input, input),
        ...componentsOf(schemas.output, output),
      },
    },
    paths: queuePaths(endpoint, { input, output, bodyRequired: requiredFields(schemas.input).length > 0 }),
  };
}

const requiredFields = ({ required }: JsonObject): string[] =>
  Array.isArray(required) ? (required as string[]) : [];

/** Describes the queue's routes of one endpoint; `input` and `output` name its schemas in `components`. */
function queuePaths(
  endpoint: string,
  { input, output, bodyRequired }: { input: string; output: string; bodyRequired: boolean },
): JsonObject {
  const request = `/${endpoint}/requests/{request_id}`;
  return {
    [`/${endpoint}`]: {
      post: {
        operationId: "submit",
        // An absent body is read as `{}`.
        requestBody: { required: bodyRequired, content: json(ref(input)) },
        responses: answers("submit", { description: "The request is queued.", schema: ref("QueueStatus") }),
      },
    },
    [`${request}/status`]: {
      get: {
        operationId: "status",
        parameters: [
          REQUEST_ID,
          {
            name: "logs",
            in: "query",
            required: false,
            schema: { type: "number" },
            description: "1 for the log lines.",
          },
        ],
        responses: answers("status", {
          statuses: [200, 202],
          description: "The state of the request; 202 before its end.",
          schema: ref("QueueStatus"),
        }),
      },
    },
    [`${request}/cancel`]: {
      put: {
        operationId: "cancel",
        parameters: [REQUEST_ID],
        responses: answers("cancel", {
          statuses: [202],
          description: "The cancellation is requested.",
          schema: {
            type: "object",
            properties: { status: { type: "string" }, success: { type: "boolean" } },
          },
        }),
      },
    },
    [request]: {
      get: {
        operationId: "result",
        parameters: [REQUEST_ID],
        responses: answers("result", { description: "The output.", schema: ref(output) }),
      },
    },
  };
}

/** Lists a schema's fields in the order that the model's author gave them. */
function fieldsOf(schema: JsonObject): [string, JsonObject][] {
  const properties = isObject(schema.properties) ? schema.properties : {};
  const order = Array.isArray(schema["x-fal-order-properties"])
    ? (schema["x-fal-order-properties"] as string[])
    : [];
  const names = [
    ...new Set([...order.filter((name) => Object.hasOwn(properties, name)), ...Object.keys(properties)]),
  ];
  return names.map((name) => [name, isObject(properties[name]) ? properties[name] : {}]);
}

function typeText(schema: JsonObject): string {
  if (Array.isArray(schema.enum)) return schema.enum.map((value) => writeJson(value)).join(" or ");
  if (typeof schema.$ref === "string") return schema.$ref.split("/").at(-1) ?? "object";
  const branches = (schema.anyOf ?? schema.oneOf) as Json[] | undefined;
  if (branches) return branches.map((branch) => (isObject(branch) ? typeText(branch) : "any")).join(" or ");
  if (schema.type === "array") return `list of ${isObject(schema.items) ? typeText(schema.items) : "any"}`;
  return schema.type === undefined ? "any" : [schema.type].flat().join(" or ");
}

function fieldLine([name, schema]: [string, JsonObject], required: readonly string[]): string {
  const bounds = [
    required.includes(name) ? "required" : undefined,
    schema.default === undefined ? undefined : `default ${writeJson(schema.default)}`,
    typeof schema.minimum === "number" ? `at least ${schema.minimum}` : undefined,
    typeof schema.maximum === "number" ? `at most ${schema.maximum}` : undefined,
  ].filter((text) => text !== undefined);
  const { description } = schema;
  const text = typeof description === "string" ? `: ${description.replace(/\s+/g, " ")}` : "";
  return `- \`${name}\` (${[typeText(schema), ...bounds].join(", ")})${text}`;
}

/** Describes for a language model, as Markdown, how to call an endpoint. */
export function llmsText(model: DescribedModel, { queue, run, web }: DescribedAt & { run: string }): string {
  const { endpoint, title, description, category, schemas } = model;
  const fields = (schema: JsonObject): string => {
    const required = requiredFields(schema);
    return fieldsOf(schema)
      .map((field) => fieldLine(field, required))
      .join("\n");
  };
  const required = requiredFields(schemas.input);
  const example = Object.fromEntries(
    fieldsOf(schemas.input)
      .filter(([name]) => required.includes(name))
      .map(([name, schema]) => [
        name,
        (schema.examples as Json[] | undefined)?.[0] ??
          schema.default ??
          (schema.type === "string" ? "…" : null),
      ]),
  );
  const body = writeJson(example);
  const curl =
    `curl -X POST ${run}/${endpoint} -H "Authorization: Key $FAL_KEY"` +
    ` -H "Content-Type: application/json" -d '${body.replaceAll("'", "'\\''")}'`;
  const queued =
    `Queued, for anything that takes a while: \`POST ${queue}/${endpoint}\` answers \`request_id\`,` +
    ` \`status_url\` and \`response_url\`; poll the\n` +
    "status until it is `COMPLETED`, then read the response.";
  return `# ${title}

> ${description}

- Endpoint: \`${endpoint}\`
- Category: ${category}
- OpenAPI: ${web}/api/openapi/queue/openapi.json?endpoint_id=${encodeURIComponent(endpoint)}

## Input

${fields(schemas.input)}

## Output

${fields(schemas.output)}

## Calling it

Every call carries \`Authorization: Key <your key>\`. One call that waits:

\`\`\`bash
${curl}
\`\`\`

${queued}
With fal's JavaScript client:

\`\`\`js
import { fal } from "@fal-ai/client";
const { data } = await fal.subscribe("${endpoint}", { input: ${body} });
\`\`\`

With fal's Python client:

\`\`\`python
import fal_client
result = fal_client.subscribe("${endpoint}", arguments=${pythonText(example)})
\`\`\`
`;
}

const pythonText = (value: Json): string =>
  value === null
    ? "None"
    : typeof value === "boolean"
      ? value
        ? "True"
        : "False"
      : Array.isArray(value)
        ? `[${value.map(pythonText).join(", ")}]`
        : isObject(value)
          ? `{${Object.entries(value)
              .map(([name, item]) => `${writeJson(name)}: ${pythonText(item)}`)
              .join(", ")}}`
          : writeJson(value);
