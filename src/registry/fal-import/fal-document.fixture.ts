import type { JsonObject } from "../../core/json/json.ts";

/** Components of a small endpoint, as pydantic and fal write them. */
export const COMPONENTS: JsonObject = {
  PainterInput: {
    title: "PainterInput",
    type: "object",
    required: ["prompt"],
    "x-fal-order-properties": ["prompt", "seed", "image_size", "output_format"],
    properties: {
      prompt: { title: "Prompt", type: "string", examples: ["a boat"] },
      seed: { title: "Seed", anyOf: [{ type: "integer" }, { type: "null" }] },
      image_size: {
        title: "Image Size",
        default: "square",
        anyOf: [{ $ref: "#/components/schemas/ImageSize" }, { type: "string", enum: ["square"] }],
      },
      output_format: { title: "Output Format", type: "string", enum: ["png", "gif"], default: "png" },
    },
  },
  ImageSize: { type: "object", properties: { width: { type: "integer" }, height: { type: "integer" } } },
  PainterOutput: {
    title: "PainterOutput",
    type: "object",
    properties: { images: { type: "array", items: { $ref: "#/components/schemas/Image" } } },
  },
  QueueStatus: { type: "object", properties: { status: { type: "string" } } },
  Image: { type: "object", required: ["url"], properties: { url: { type: "string" } } },
};

/** The OpenAPI document of an endpoint, in the form of fal's for the queue. */
export function falDocument(endpoint: string, schemas: JsonObject = COMPONENTS): JsonObject {
  const json = (name: string) => ({
    content: { "application/json": { schema: { $ref: `#/components/schemas/${name}` } } },
  });
  return {
    openapi: "3.0.4",
    info: {
      title: `Queue OpenAPI for ${endpoint}`,
      version: "1.0.0",
      description: `The OpenAPI schema for the ${endpoint} queue.`,
      "x-fal-metadata": { endpointId: endpoint, category: "text-to-image" },
    },
    components: { schemas },
    paths: {
      [`/${endpoint}/requests/{request_id}/status`]: { get: { responses: {} } },
      [`/${endpoint}`]: {
        post: {
          requestBody: { required: true, ...json("PainterInput") },
          responses: { 200: json("QueueStatus") },
        },
      },
      [`/${endpoint}/requests/{request_id}`]: { get: { responses: { 200: json("PainterOutput") } } },
    },
  };
}
