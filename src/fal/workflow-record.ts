/** Saved workflows on fal's wire (contract §10, §11.3): the bodies that create, change and show one. */
import type { InputFault } from "../core/errors/tempera-error.ts";
import { stripUrl } from "../core/files/input-file.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { ParsedGraph } from "../core/pipelines/parsed-graph.ts";
import type { PipelineMetadata, PipelineSummary, SavedPipeline } from "../core/pipelines/saved-pipeline.ts";
import { readContents } from "./workflow-definition.ts";

export interface WorkflowChange {
  metadata: Partial<PipelineMetadata>;
  /** The definition as it was sent, and as it was parsed. */
  definition?: { contents: JsonObject; parsed: ParsedGraph };
}

export interface NewWorkflow {
  name: string;
  metadata: PipelineMetadata;
  definition: { contents: JsonObject; parsed: ParsedGraph };
}

type Faulty = { faults: InputFault[] };
type AddFault = (field: string, msg: string, type?: string) => undefined;

const NAME = /^[a-zA-Z0-9_-]+$/;

/**
 * Reads `{name, title, is_public?, contents}`, and our additions `description`, `thumbnail_url` and `tags`.
 */
export function readNewWorkflow(body: Json): NewWorkflow | Faulty {
  const { faults, addFault } = collector();
  if (!isObject(body)) return { faults: [notObject] };
  const { name } = body;
  const named =
    typeof name === "string" && NAME.test(name) && name.length <= LIMITS.pipelineNameCharactersMax;
  if (name === undefined) addFault("name", "Field required", "missing");
  else if (!named)
    addFault(
      "name",
      `Input should be 1 to ${LIMITS.pipelineNameCharactersMax} letters, digits, dashes or underscores`,
    );
  if (body.title === null) addFault("title", "Field required", "missing");
  for (const field of ["title", "contents"])
    if (body[field] === undefined) addFault(field, "Field required", "missing");
  const change = readChange(body, addFault, faults);
  const { definition, metadata } = change;
  if (faults.length > 0 || !named || !definition || metadata.title === undefined) return { faults };
  return {
    name,
    metadata: {
      isPublic: false,
      tags: [],
      ...describedBy(definition.contents),
      ...metadata,
      title: metadata.title,
    },
    definition,
  };
}

/** Reads those of the same fields that change. The name is the address of a workflow and never changes. */
export function readWorkflowChange(body: Json, name: string): WorkflowChange | Faulty {
  const { faults, addFault } = collector();
  if (!isObject(body)) return { faults: [notObject] };
  if (body.name !== undefined && body.name !== name) {
    addFault(
      "name",
      `a workflow's name is its address and does not change; create another and remove '${name}'`,
    );
  }
  const change = readChange(body, addFault, faults);
  return faults.length > 0 ? { faults } : change;
}

function readChange(body: JsonObject, addFault: AddFault, faults: InputFault[]): WorkflowChange {
  const metadata: Partial<PipelineMetadata> = {};
  const title = readText(body.title, LIMITS.pipelineTitleCharactersMax);
  if (title === "invalid" || title?.text === "")
    addFault("title", `Input should be 1 to ${LIMITS.pipelineTitleCharactersMax} characters`);
  else if (title) metadata.title = title.text;
  const { is_public: isPublic, tags } = body;
  if (typeof isPublic === "boolean") metadata.isPublic = isPublic;
  else if (isPublic !== undefined && isPublic !== null)
    addFault("is_public", "Input should be a valid boolean", "bool_type");
  const description = readText(body.description, LIMITS.pipelineDescriptionCharactersMax);
  if (description === "invalid")
    addFault("description", `Input should be up to ${LIMITS.pipelineDescriptionCharactersMax} characters`);
  else if (description) metadata.description = description.text;
  const thumbnail = readText(body.thumbnail_url, LIMITS.webhookUrlBytesMax);
  const thumbnailUrl = thumbnail && thumbnail !== "invalid" ? stripUrl(thumbnail.text) : undefined;
  if (thumbnail === "invalid" || (thumbnailUrl !== undefined && !/^https?:\/\/\S/i.test(thumbnailUrl)))
    addFault("thumbnail_url", "Input should be an http(s) URL");
  else if (thumbnailUrl !== undefined) metadata.thumbnailUrl = thumbnailUrl;
  if (isTags(tags)) metadata.tags = tags;
  else if (tags !== undefined && tags !== null) {
    addFault(
      "tags",
      `Input should be a list of up to ${LIMITS.pipelineTagsMax} texts ` +
        `of 1 to ${LIMITS.pipelineTagCharactersMax} characters`,
    );
  }
  if (body.contents === undefined) return { metadata };
  const parsed = readContents(body.contents, ["body", "contents"]);
  if ("faults" in parsed) faults.push(...parsed.faults);
  else if (isObject(body.contents)) return { metadata, definition: { contents: body.contents, parsed } };
  return { metadata };
}

function readText(value: Json | undefined, charactersMax: number): { text: string } | "invalid" | undefined {
  if (value === undefined || value === null) return undefined;
  return typeof value === "string" && [...value].length <= charactersMax ? { text: value } : "invalid";
}

const isTags = (value: Json | undefined): value is string[] =>
  Array.isArray(value) &&
  value.length <= LIMITS.pipelineTagsMax &&
  value.every(
    (tag) => typeof tag === "string" && tag !== "" && [...tag].length <= LIMITS.pipelineTagCharactersMax,
  );

/** Reads the description that fal's editor stores with the graph. */
function describedBy({ metadata }: JsonObject): Partial<PipelineMetadata> {
  const described = isObject(metadata)
    ? readText(metadata.description, LIMITS.pipelineDescriptionCharactersMax)
    : undefined;
  return described && described !== "invalid" ? { description: described.text } : {};
}

function collector(): { faults: InputFault[]; addFault: AddFault } {
  const faults: InputFault[] = [];
  const addFault: AddFault = (field, msg, type = "value_error") =>
    void faults.push({ loc: ["body", field], msg, type });
  return { faults, addFault };
}

const notObject: InputFault = {
  loc: ["body"],
  msg: "Input should be a valid dictionary",
  type: "model_attributes_type",
};

const iso = (ms: number): string => new Date(ms).toISOString();

/** Describes a workflow as an item of the Platform API's list. */
export function workflowItem(of: PipelineSummary): JsonObject {
  return {
    name: of.name,
    title: of.title,
    user_nickname: of.ownerId,
    created_at: iso(of.createdAtMs),
    updated_at: iso(of.updatedAtMs),
    is_public: of.isPublic,
    version: of.version,
    ...(of.thumbnailUrl !== undefined && { thumbnail_url: of.thumbnailUrl }),
    ...(of.description !== undefined && { description: of.description }),
    tags: of.tags,
    endpoint_ids: of.calls,
  };
}

/** Describes a workflow as an item of the older REST API's pages. */
export function restWorkflowItem(of: PipelineSummary): JsonObject {
  return { name: of.name, title: of.title, user_id: of.ownerId, created_at: iso(of.createdAtMs) };
}

/** Describes a workflow with its definition, as the older REST API shows one. */
export function restWorkflowDetail(of: SavedPipeline): JsonObject {
  return {
    ...restWorkflowItem(of),
    is_public: of.isPublic,
    version: of.version,
    contents: of.contents,
  };
}
