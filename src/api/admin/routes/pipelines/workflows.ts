/** The admin API of pipelines: the workflows that callers save, in fal's form. */
import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { Json, JsonObject } from "../../../../core/json/json.ts";
import { LIMITS } from "../../../../core/limits.ts";
import {
  type PipelineSummary,
  type SavedPipeline,
  savedEndpoint,
} from "../../../../core/pipelines/saved-pipeline.ts";
import { workflowItem } from "../../../../fal/workflow-record.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { createSavedPipelineService } from "../../../pipelines/saved-pipeline-service.ts";
import type { AddRoute } from "../../http/route.ts";

const ITEM = z.object({
  name: z.string(),
  title: z.string(),
  user_nickname: z.string(),
  created_at: z.string(),
  updated_at: z.string(),
  is_public: z.boolean(),
  version: z.number(),
  thumbnail_url: z.string().optional(),
  description: z.string().optional(),
  tags: z.array(z.string()),
  endpoint_ids: z.array(z.string()),
});
const CONTENTS = z
  .record(z.string(), z.unknown())
  .openapi({ description: "{name, version, nodes, output, schema, metadata?}" });
const WORKFLOW = z.object({ workflow: ITEM.extend({ contents: CONTENTS }).openapi("Workflow") });

/** A saved workflow without its definition, as the API shows it. */
export type WorkflowView = z.output<typeof ITEM>;

/**
 * A field that is described and not checked. The pipeline service checks the record together with its
 * definition, so that one error names all faults of both.
 */
const UNCHECKED = z.unknown().optional();
const uncheckedText = (maxLength: number) => UNCHECKED.openapi({ type: ["string", "null"], maxLength });
const CHANGE = z.looseObject({
  title: uncheckedText(LIMITS.pipelineTitleCharactersMax).openapi({ minLength: 1 }),
  is_public: UNCHECKED.openapi({
    type: ["boolean", "null"],
    description: "Lets others call the workflow and read it. Default: false.",
  }),
  contents: UNCHECKED.openapi({
    type: "object",
    description: "The definition: {name, version, nodes, output, schema, metadata?}",
  }),
  description: uncheckedText(LIMITS.pipelineDescriptionCharactersMax),
  thumbnail_url: uncheckedText(LIMITS.webhookUrlBytesMax).openapi({
    pattern: "^[Hh][Tt][Tt][Pp][Ss]?://[!-~]",
    description: "An http(s) URL.",
  }),
  tags: UNCHECKED.openapi({
    type: ["array", "null"],
    maxItems: LIMITS.pipelineTagsMax,
    items: { type: "string", minLength: 1, maxLength: LIMITS.pipelineTagCharactersMax },
  }),
});
const NEW_WORKFLOW = CHANGE.extend({
  title: CHANGE.shape.title.openapi({ type: "string" }),
  name: UNCHECKED.openapi({
    type: "string",
    pattern: `^[a-zA-Z0-9_-]{1,${LIMITS.pipelineNameCharactersMax}}$`,
  }),
}).openapi({ required: ["name", "title", "contents"] });

const PARAMS = z.object({ username: z.string(), workflow_name: z.string() });
const WORKFLOW_PATH = "/v1/workflows/{username}/{workflow_name}";

const nameOf = ({ username, workflow_name }: z.output<typeof PARAMS>) => ({
  ownerId: username,
  name: workflow_name,
});

const itemBody = (of: PipelineSummary) => workflowItem(of) as z.input<typeof ITEM>;
const workflowBody = (of: SavedPipeline): z.input<typeof WORKFLOW> => ({
  workflow: { ...itemBody(of), contents: of.contents },
});
/** Returns the workflow for the audit record: without its definition, whose versions the store keeps. */
const audited = (of: PipelineSummary): JsonObject => workflowItem(of);

type Dependencies = Pick<ApiDependencies, "pipelines" | "checkDefinition" | "clock">;
type Service = ReturnType<typeof createSavedPipelineService>;

/**
 * Adds the routes of saved workflows (contract §10, §11.3). A key manages the workflows of its owner, and
 * reads the public ones of other owners.
 */
export function addWorkflowRoutes(addRoute: AddRoute, api: Dependencies): void {
  const service = createSavedPipelineService(api);
  addListRoute(addRoute, service);
  addCreateRoute(addRoute, service);
  addShowRoute(addRoute, service);
  addChangeRoute(addRoute, service);
  addRemoveRoute(addRoute, service);
}

function addListRoute(addRoute: AddRoute, service: Service): void {
  addRoute(
    {
      method: "get",
      path: "/v1/workflows",
      summary: "Lists the caller's workflows, newest first.",
      scope: "API",
      query: z.object({
        search: z
          .string()
          .optional()
          .openapi({ description: "A text in the name, the title or the description." }),
        used_endpoint_ids: z
          .union([z.string(), z.array(z.string())])
          .optional()
          .openapi({ description: "Endpoints of which the workflow must call at least one." }),
      }),
      response: z.object({ workflows: z.array(ITEM), total: z.number() }),
    },
    async ({ caller, query: { search, used_endpoint_ids = [] } }) => {
      const calls = [used_endpoint_ids].flat().flatMap((ids) => ids.split(",").filter((id) => id !== ""));
      const { items, total } = await service.list(caller, {
        ...(search && { search }),
        ...(calls.length > 0 && { calls }),
        limit: LIMITS.pipelinesOfOwnerMax,
        offset: 0,
      });
      return { workflows: items.map(itemBody), total };
    },
  );
}

function addCreateRoute(addRoute: AddRoute, service: Service): void {
  addRoute(
    {
      method: "post",
      path: "/v1/workflows",
      summary: "Saves a workflow. An error names all faults of its definition.",
      scope: "API",
      body: NEW_WORKFLOW,
      bodyRequired: true,
      bodyBytesMax: LIMITS.pipelineBodyBytesMax,
      audit: "workflows.create",
      status: 201,
      response: WORKFLOW,
      errors: ["pipeline_exists", "saved_pipelines_limit"],
    },
    async ({ caller, body, change }) => {
      const { name, save } = await service.create(caller, body as Json);
      return change({ subject: savedEndpoint(name) }, async () => {
        const saved = await save();
        return { after: audited(saved), result: workflowBody(saved) };
      });
    },
  );
}

function addShowRoute(addRoute: AddRoute, service: Service): void {
  addRoute(
    {
      method: "get",
      path: WORKFLOW_PATH,
      summary: "Shows one workflow, in its current or in a named version.",
      scope: "API",
      params: PARAMS,
      query: z.object({ version: z.string().optional() }),
      response: WORKFLOW,
      errors: ["pipeline_unknown"],
    },
    async ({ caller, params, query: { version } }) => {
      if (version !== undefined && !/^[1-9]\d{0,8}$/.test(version))
        throw new TemperaError("pipeline_unknown");
      const number = version === undefined ? undefined : Number(version);
      return workflowBody(await service.show(caller, nameOf(params), number));
    },
  );
}

function addChangeRoute(addRoute: AddRoute, service: Service): void {
  addRoute(
    {
      method: "patch",
      path: WORKFLOW_PATH,
      summary:
        "Changes the named fields. New contents become a new version; requests that run keep their version.",
      scope: "API",
      params: PARAMS,
      body: CHANGE,
      bodyBytesMax: LIMITS.pipelineBodyBytesMax,
      audit: "workflows.change",
      response: WORKFLOW,
      errors: ["pipeline_unknown"],
    },
    async ({ caller, params, body, change }) => {
      const { name, before, save } = await service.update(caller, nameOf(params), body as Json);
      return change(
        { subject: savedEndpoint(name), ...(before && { before: audited(before) }) },
        async () => {
          const saved = await save();
          return { after: audited(saved), result: workflowBody(saved) };
        },
      );
    },
  );
}

function addRemoveRoute(addRoute: AddRoute, service: Service): void {
  addRoute(
    {
      method: "delete",
      path: WORKFLOW_PATH,
      summary: "Removes a workflow. Requests that run on it finish.",
      scope: "API",
      params: PARAMS,
      audit: "workflows.remove",
      status: 204,
      errors: ["pipeline_unknown"],
    },
    async ({ caller, params, change }) => {
      const name = nameOf(params);
      if (name.ownerId !== caller.ownerId) throw new TemperaError("pipeline_unknown");
      const before = await service.show(caller, name);
      return change({ subject: savedEndpoint(name), before: audited(before) }, async () => {
        await service.remove(caller, name);
        return { result: undefined };
      });
    },
  );
}
