/**
 * Saved workflows on fal's wire (contract §10, §11.3): what creates and changes one, and how one is shown.
 */
import type { InputFault } from "../core/errors/tempera-error.ts";
import type { GraphDraft } from "../core/pipelines/parsed-graph.ts";
import { isObject, type Json, type JsonObject } from "../core/json/json.ts";
import { LIMITS } from "../core/limits.ts";
import type { PipelineSummary, PipelineWords, SavedPipeline } from "../core/pipelines/saved-pipeline.ts";
import { readContents } from "./workflow-definition.ts";

export interface WorkflowChange {
  words: Partial<PipelineWords>;
  /** As it was given, and as it was read. */
  definition?: { contents: JsonObject; draft: GraphDraft };
}

export interface NewWorkflow {
  name: string;
  words: PipelineWords;
  definition: { contents: JsonObject; draft: GraphDraft };
}

type Faulty = { faults: InputFault[] };
type Wrong = (field: string, msg: string, type?: string) => undefined;

const NAME = /^[a-zA-Z0-9_-]+$/;

/** `{name, title, is_public?, contents}`, and ours: `description`, `thumbnail_url`, `tags`. */
export function readNewWorkflow(body: Json): NewWorkflow | Faulty {
  const { faults, wrong } = collector();
  if (!isObject(body)) return { faults: [notObject] };
  const { name } = body;
  const named =
    typeof name === "string" && NAME.test(name) && name.length <= LIMITS.pipelineNameCharactersMax;
  if (name === undefined) wrong("name", "Field required", "missing");
  else if (!named)
    wrong(
      "name",
      `Input should be 1 to ${LIMITS.pipelineNameCharactersMax} letters, digits, dashes or underscores`,
    );
  for (const field of ["title", "contents"])
    if (body[field] === undefined) wrong(field, "Field required", "missing");
  const change = readChange(body, wrong, faults);
  const { definition, words } = change;
  if (faults.length > 0 || !named || !definition || words.title === undefined) return { faults };
  return {
    name,
    words: { isPublic: false, tags: [], ...describedBy(definition.contents), ...words, title: words.title },
    definition,
  };
}

/** The same fields, those that change. The name is the address of a workflow, and stays. */
export function readWorkflowChange(body: Json, name: string): WorkflowChange | Faulty {
  const { faults, wrong } = collector();
  if (!isObject(body)) return { faults: [notObject] };
  if (body.name !== undefined && body.name !== name) {
    wrong(
      "name",
      `a workflow's name is its address and does not change; create another and remove '${name}'`,
    );
  }
  const change = readChange(body, wrong, faults);
  return faults.length > 0 ? { faults } : change;
}

function readChange(body: JsonObject, wrong: Wrong, faults: InputFault[]): WorkflowChange {
  const words: Partial<PipelineWords> = {};
  const title = readText(body.title, LIMITS.pipelineTitleCharactersMax);
  if (title === "invalid" || title?.text === "")
    wrong("title", `Input should be 1 to ${LIMITS.pipelineTitleCharactersMax} characters`);
  else if (title) words.title = title.text;
  const { is_public: isPublic, tags } = body;
  if (typeof isPublic === "boolean") words.isPublic = isPublic;
  else if (isPublic !== undefined && isPublic !== null)
    wrong("is_public", "Input should be a valid boolean", "bool_type");
  const description = readText(body.description, LIMITS.pipelineDescriptionCharactersMax);
  if (description === "invalid")
    wrong("description", `Input should be up to ${LIMITS.pipelineDescriptionCharactersMax} characters`);
  else if (description) words.description = description.text;
  const thumbnail = readText(body.thumbnail_url, LIMITS.webhookUrlBytesMax);
  if (thumbnail === "invalid" || (thumbnail && !/^https?:\/\//.test(thumbnail.text)))
    wrong("thumbnail_url", "Input should be an http(s) URL");
  else if (thumbnail) words.thumbnailUrl = thumbnail.text;
  if (isTags(tags)) words.tags = tags;
  else if (tags !== undefined && tags !== null) {
    wrong(
      "tags",
      `Input should be a list of up to ${LIMITS.pipelineTagsMax} texts of 1 to ${LIMITS.pipelineTagCharactersMax} characters`,
    );
  }
  if (body.contents === undefined) return { words };
  const draft = readContents(body.contents, ["body", "contents"]);
  if ("faults" in draft) faults.push(...draft.faults);
  else if (isObject(body.contents)) return { words, definition: { contents: body.contents, draft } };
  return { words };
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

/** fal's editor keeps the description with the graph. */
function describedBy({ metadata }: JsonObject): Partial<PipelineWords> {
  const described = isObject(metadata)
    ? readText(metadata.description, LIMITS.pipelineDescriptionCharactersMax)
    : undefined;
  return described && described !== "invalid" ? { description: described.text } : {};
}

function collector(): { faults: InputFault[]; wrong: Wrong } {
  const faults: InputFault[] = [];
  const wrong: Wrong = (field, msg, type = "value_error") =>
    void faults.push({ loc: ["body", field], msg, type });
  return { faults, wrong };
}

const notObject: InputFault = {
  loc: ["body"],
  msg: "Input should be a valid dictionary",
  type: "model_attributes_type",
};

const iso = (ms: number): string => new Date(ms).toISOString();

/** One of the Platform API's list. */
export const workflowItem = (of: PipelineSummary): JsonObject => ({
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
});

/** One of the older REST API's pages. */
export const restWorkflowItem = (of: PipelineSummary): JsonObject => ({
  name: of.name,
  title: of.title,
  user_id: of.ownerId,
  created_at: iso(of.createdAtMs),
});

export const restWorkflowDetail = (of: SavedPipeline): JsonObject => ({
  ...restWorkflowItem(of),
  is_public: of.isPublic,
  version: of.version,
  contents: of.contents,
});
