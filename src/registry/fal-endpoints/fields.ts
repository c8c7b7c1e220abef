/**
 * The fields that inputs and outputs of fal's endpoints share, as JSON Schema. Their names, options and
 * defaults are those of the types of fal's JavaScript client; bounds, which the types lack, are those of the
 * demonstration models, whose whole schemas are known.
 */
import { isObject, type Json, type JsonObject } from "../../core/json/json.ts";
import type { JsonSchema } from "../../core/models/model.ts";

export type Fields = Record<string, JsonObject>;

/** Texts are cut by models long before this; it keeps checks cheap. */
const TEXT = { type: "string", maxLength: 8000 };

const SIZES = ["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"];
const SIDE = { type: "integer", exclusiveMinimum: 0, maximum: 14142, default: 512 };
const FILE_FIELDS: Fields = {
  url: {
    title: "Url",
    description: "The URL where the file can be downloaded from.",
    type: "string",
  },
  content_type: {
    title: "Content Type",
    description: "The mime type of the file.",
    type: ["string", "null"],
  },
  file_name: {
    title: "File Name",
    description: "The name of the file. It will be auto-generated if not provided.",
    type: ["string", "null"],
  },
  file_size: {
    title: "File Size",
    description: "The size of the file in bytes.",
    type: ["integer", "null"],
  },
};

const SCALE = { title: "Scale", type: "number", minimum: 0, maximum: 4, default: 1 };
const DEFINITIONS: Record<string, JsonObject> = {
  ImageSize: {
    title: "ImageSize",
    type: "object",
    "x-fal-order-properties": ["width", "height"],
    properties: {
      width: { title: "Width", description: "The width of the generated image.", ...SIDE },
      height: { title: "Height", description: "The height of the generated image.", ...SIDE },
    },
  },
  LoraWeight: {
    title: "LoraWeight",
    type: "object",
    required: ["path"],
    "x-fal-order-properties": ["path", "scale"],
    properties: {
      path: { title: "Path", description: "URL or the path to the LoRA weights.", type: "string" },
      scale: {
        ...SCALE,
        description:
          "The scale of the LoRA weight. This is used to scale the LoRA weight before merging it with the " +
          "base model.",
      },
    },
  },
  /** For a model of two experts: which of them the weights are for. */
  ExpertLoraWeight: {
    title: "LoRAWeight",
    type: "object",
    required: ["path"],
    "x-fal-order-properties": ["path", "weight_name", "scale", "transformer"],
    properties: {
      path: { title: "Path", description: "URL or the path to the LoRA weights.", type: "string" },
      weight_name: {
        title: "Weight Name",
        description: "Name of the weight file, where the path is a repository of several.",
        type: ["string", "null"],
      },
      scale: { ...SCALE, description: "The scale of the LoRA weight." },
      transformer: {
        title: "Transformer",
        description: "The expert that the weights are for.",
        type: "string",
        enum: ["high", "low", "both"],
        default: "high",
      },
    },
  },
  File: {
    title: "File",
    type: "object",
    required: ["url"],
    "x-fal-order-properties": Object.keys(FILE_FIELDS),
    properties: FILE_FIELDS,
  },
  Image: {
    title: "Image",
    description: "Represents an image file.",
    type: "object",
    required: ["url", "width", "height"],
    "x-fal-order-properties": ["url", "width", "height", "content_type", "file_name", "file_size"],
    properties: {
      url: FILE_FIELDS.url as JsonObject,
      width: { title: "Width", description: "The width of the image in pixels.", type: "integer" },
      height: { title: "Height", description: "The height of the image in pixels.", type: "integer" },
      content_type: { title: "Content Type", description: "The mime type of the file.", type: "string" },
      file_name: { title: "File Name", description: "The name of the file.", type: "string" },
      file_size: { title: "File Size", description: "The size of the file in bytes.", type: "integer" },
    },
  },
};

/** Makes the schema of an object from its fields, with the definitions that they refer to. */
export function objectSchema(title: string, fields: Fields, required: readonly string[]): JsonSchema {
  const used = [...namesIn(fields)];
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title,
    type: "object",
    required: [...required],
    "x-fal-order-properties": Object.keys(fields),
    properties: fields,
    ...(used.length > 0 && {
      $defs: Object.fromEntries(used.map((name) => [name, DEFINITIONS[name] as JsonObject])),
    }),
  };
}

function namesIn(schema: Json, found = new Set<string>()): Set<string> {
  if (Array.isArray(schema)) for (const part of schema) namesIn(part, found);
  if (!isObject(schema)) return found;
  if (typeof schema.$ref === "string") found.add(schema.$ref.slice("#/$defs/".length));
  for (const part of Object.values(schema)) namesIn(part, found);
  return found;
}

const titled = (title: string, description: string, rest: JsonObject): JsonObject => ({
  title,
  description,
  ...rest,
});

export const prompt = (description: string): JsonObject => titled("Prompt", description, TEXT);

export const negativePrompt = (description: string, fallback = ""): JsonObject =>
  titled("Negative Prompt", description, { ...TEXT, default: fallback });

export const seed = (description: string, bounds: JsonObject = {}): JsonObject =>
  titled("Seed", description, { type: ["integer", "null"], ...bounds });

export const flag = (title: string, description: string, fallback = false): JsonObject =>
  titled(title, description, { type: "boolean", default: fallback });

export const choice = (
  title: string,
  description: string,
  options: readonly string[],
  fallback: string,
): JsonObject => titled(title, description, { type: "string", enum: [...options], default: fallback });

export const integer = (title: string, description: string, low: number, high: number, fallback: number) =>
  titled(title, description, { type: "integer", minimum: low, maximum: high, default: fallback });

export const number = (title: string, description: string, low: number, high: number, fallback: number) =>
  titled(title, description, { type: "number", minimum: low, maximum: high, default: fallback });

/** A required file. */
export const fileUrl = (title: string, description: string): JsonObject =>
  titled(title, description, { type: "string", minLength: 1 });

/** Several required files. */
export const fileUrls = (title: string, description: string): JsonObject =>
  titled(title, description, { type: "array", minItems: 1, items: { type: "string", minLength: 1 } });

/** @param fallback a size's name; null: that of the input image */
export function imageSize(description: string, fallback: string | null): JsonObject {
  const branches: JsonObject[] = [{ $ref: "#/$defs/ImageSize" }, { type: "string", enum: SIZES }];
  return titled("Image Size", description, {
    ...(fallback !== null && { default: fallback }),
    anyOf: fallback === null ? [...branches, { type: "null" }] : branches,
  });
}

export const loras = (description: string, weight = "LoraWeight"): JsonObject =>
  titled("Loras", description, {
    type: "array",
    items: { $ref: `#/$defs/${weight}` },
    maxItems: 3,
    default: [],
  });

export const file = (title: string, description: string): JsonObject =>
  titled(title, description, { $ref: "#/$defs/File" });

/** Removes fields. */
export const without = (fields: Fields, ...names: string[]): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));

/** Sets other defaults. */
export const withDefaults = (fields: Fields, defaults: JsonObject): Fields => ({
  ...fields,
  ...Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [name, { ...fields[name], default: value }]),
  ),
});
