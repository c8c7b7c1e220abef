import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Json, JsonObject } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { EXECUTE } from "../../core/models/endpoint.ts";
import { assertEndpointPermitted, isEndpointPermitted } from "../../core/owners/key-permissions.ts";
import type { CompiledGraph, ParsedGraph } from "../../core/pipelines/parsed-graph.ts";
import type { PipelineQuery } from "../../core/pipelines/pipeline-store.ts";
import { type PipelineName, type SavedPipeline, savedEndpoint } from "../../core/pipelines/saved-pipeline.ts";
import { readNewWorkflow, readWorkflowChange } from "../../fal/workflow-record.ts";
import { createInputCheck } from "../../registry/input-check.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { definitionError, refuseTooLarge } from "./check-definition.ts";

/** A change that is checked and not saved yet. */
interface CheckedChange {
  name: PipelineName;
  /** The current state of the pipeline; absent when it is new. */
  before?: SavedPipeline;
  save(): Promise<SavedPipeline>;
}

/**
 * Creates, changes and shows saved pipelines, for the Platform API and the older REST API. Each rejects with
 * `key_endpoint_forbidden` for a pipeline that the caller's key may not call, itself or a node of it: other
 * keys of the owner would run what this one wrote.
 */
export interface SavedPipelineService {
  /**
   * Checks a new pipeline. Rejects with `input_invalid` with every fault of its definition; `save` rejects
   * with `pipeline_exists` or `saved_pipelines_limit`.
   */
  create(caller: Caller, body: Json): Promise<CheckedChange>;
  /** Checks a change. Rejects with `pipeline_unknown` unless the caller owns it, and with `input_invalid`. */
  update(caller: Caller, name: PipelineName, body: Json): Promise<CheckedChange>;
  /** Rejects with `pipeline_unknown` unless the caller owns it. */
  remove(caller: Caller, name: PipelineName): Promise<void>;
  /** Finds a pipeline of the caller, or a public one. Rejects with `pipeline_unknown`. */
  show(caller: Caller, name: PipelineName, version?: number): Promise<SavedPipeline>;
  /** Lists the caller's pipelines that its key may call, newest first, with the total of all pages. */
  list(caller: Caller, query: OwnQuery): ReturnType<ServiceApi["pipelines"]["list"]>;
}

type OwnQuery = Omit<PipelineQuery, "ownerId">;

type ServiceApi = Pick<ApiDependencies, "pipelines" | "checkDefinition" | "clock">;

export function createSavedPipelineService(api: ServiceApi): SavedPipelineService {
  const { pipelines, clock } = api;
  return {
    create: (caller, body) => checkNew(api, caller, body),
    update: (caller, name, body) => checkUpdate(api, caller, name, body),

    async remove(caller, name) {
      const { ownerId } = caller;
      assertEndpointPermitted(caller, savedEndpoint(name));
      if (name.ownerId !== ownerId || !(await pipelines.remove(name, clock.nowMs())))
        throw new TemperaError("pipeline_unknown");
    },

    async show(caller, name, version) {
      const { ownerId } = caller;
      assertEndpointPermitted(caller, savedEndpoint(name));
      const saved = await pipelines.find(name, version);
      if (!saved || (saved.ownerId !== ownerId && !saved.isPublic))
        throw new TemperaError("pipeline_unknown");
      return saved;
    },

    list: (caller, query) => listPermitted(api, caller, query),
  };
}

async function listPermitted(
  { pipelines }: ServiceApi,
  { ownerId, permissions }: Caller,
  query: OwnQuery,
): ReturnType<ServiceApi["pipelines"]["list"]> {
  if (!permissions?.endpoints) return pipelines.list({ ...query, ownerId });
  // An owner has few, so a key's are chosen here.
  const { items } = await pipelines.list({ ...query, ownerId, limit: LIMITS.pipelinesOfOwnerMax, offset: 0 });
  const permitted = items.filter((item) => isEndpointPermitted(permissions, savedEndpoint(item)));
  return { items: permitted.slice(query.offset, query.offset + query.limit), total: permitted.length };
}

async function checkNew(api: ServiceApi, caller: Caller, body: Json): Promise<CheckedChange> {
  const { ownerId } = caller;
  const read = readNewWorkflow(storableBody(body));
  if ("faults" in read) throw definitionError(read.faults);
  const name = { ownerId, name: read.name };
  assertEndpointPermitted(caller, savedEndpoint(name));
  if (savedEndpoint(name).startsWith(`${EXECUTE}/`)) {
    const msg =
      "Value error, an owner called 'execute' cannot save workflows: " +
      "their addresses belong to workflows that come with a call";
    throw definitionError([{ loc: ["body", "name"], msg, type: "value_error" }]);
  }
  const pipeline = {
    ...name,
    ...read.metadata,
    contents: read.definition.contents,
    compiled: await compile(api, caller, name, read.definition),
  };
  return { name, save: () => saveNew(api, pipeline) };
}

async function saveNew(
  { pipelines, clock }: ServiceApi,
  pipeline: Parameters<ServiceApi["pipelines"]["create"]>[0],
): Promise<SavedPipeline> {
  const saved = await pipelines.create(pipeline, clock.nowMs(), LIMITS.pipelinesOfOwnerMax);
  if (saved === "taken")
    throw new TemperaError(
      "pipeline_exists",
      `You have a workflow '${pipeline.name}' already; update it, or choose another name.`,
    );
  if (saved === "full")
    throw new TemperaError(
      "saved_pipelines_limit",
      `You have ${LIMITS.pipelinesOfOwnerMax} saved workflows, which is the limit; remove one.`,
    );
  return saved;
}

async function checkUpdate(
  api: ServiceApi,
  caller: Caller,
  name: PipelineName,
  body: Json,
): Promise<CheckedChange> {
  const { pipelines, clock } = api;
  assertEndpointPermitted(caller, savedEndpoint(name));
  const before = name.ownerId === caller.ownerId ? await pipelines.find(name) : undefined;
  if (!before) throw new TemperaError("pipeline_unknown");
  const read = readWorkflowChange(storableBody(body), name.name);
  if ("faults" in read) throw definitionError(read.faults);
  const { metadata, definition } = read;
  const contents = definition && {
    contents: definition.contents,
    compiled: await compile(api, caller, name, definition),
  };
  return {
    name,
    before,
    async save() {
      const saved = await pipelines.update(name, { metadata, ...(contents && { contents }) }, clock.nowMs());
      if (!saved) throw new TemperaError("pipeline_unknown");
      return saved;
    },
  };
}

const checkStorable = createInputCheck({
  schemas: { input: { type: "object", additionalProperties: true }, output: {} },
  restrictions: [],
});

/** Refuses text that no store accepts, and nesting that is too deep. Throws `input_invalid`. */
function storableBody(body: Json): JsonObject {
  const checked = checkStorable(body);
  if ("faults" in checked) throw definitionError(checked.faults);
  return checked.input;
}

async function compile(
  { checkDefinition }: Pick<ServiceApi, "checkDefinition">,
  caller: Caller,
  name: PipelineName,
  { parsed, contents }: { parsed: ParsedGraph; contents: JsonObject },
): Promise<CompiledGraph> {
  const loc = ["body", "contents"];
  refuseTooLarge(contents, loc);
  for (const { endpoint } of parsed.nodes)
    if (endpoint !== undefined) assertEndpointPermitted(caller, endpoint);
  return checkDefinition(parsed, { ownerId: name.ownerId, endpoint: savedEndpoint(name), loc });
}
