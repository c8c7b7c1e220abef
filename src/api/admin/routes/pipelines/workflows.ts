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
import { createPipelineKeeper } from "../../../pipelines/pipeline-keeper.ts";
import type { AddVerb } from "../../http/route.ts";

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

/**
 * What is wrong with a record is said together with what is wrong with its definition, so nothing of it is
 * judged here.
 */
const given = (
  fields: Record<string, { type: "string" | "boolean" | "array" | "object"; description?: string }>,
) =>
  z.looseObject(
    Object.fromEntries(
      Object.entries(fields).map(([name, said]) => [name, z.unknown().optional().openapi(said)]),
    ),
  );
const WORDS = {
  title: { type: "string" },
  is_public: { type: "boolean", description: "Others may call it and look at it. Default false." },
  contents: {
    type: "object",
    description: "The definition: {name, version, nodes, output, schema, metadata?}",
  },
  description: { type: "string" },
  thumbnail_url: { type: "string" },
  tags: { type: "array" },
} as const;

const ONE = z.object({ username: z.string(), workflow_name: z.string() });

const itemBody = (of: PipelineSummary) => workflowItem(of) as z.input<typeof ITEM>;
const workflowBody = (of: SavedPipeline): z.input<typeof WORKFLOW> => ({
  workflow: { ...itemBody(of), contents: of.contents },
});
/** In the audit record a workflow stands without its definition: the versions are kept. */
const audited = (of: PipelineSummary): JsonObject => workflowItem(of);

/**
 * Saved workflows (contract §10, §11.3): what a key sees and changes is its owner's, and it sees what others
 * made public.
 */
export function addWorkflowVerbs(
  add: AddVerb,
  api: Pick<ApiDependencies, "pipelines" | "checkDefinition" | "clock">,
): void {
  const keeper = createPipelineKeeper(api);

  add(
    {
      method: "get",
      path: "/v1/workflows",
      says: "Lists the caller's workflows, newest first.",
      scope: "API",
      query: z.object({
        search: z
          .string()
          .optional()
          .openapi({ description: "Text in the name, the title or the description." }),
        used_endpoint_ids: z
          .union([z.string(), z.array(z.string())])
          .optional()
          .openapi({ description: "Only those that call one of these." }),
      }),
      answer: z.object({ workflows: z.array(ITEM), total: z.number() }),
    },
    async ({ caller: { ownerId }, query: { search, used_endpoint_ids = [] } }) => {
      const calls = [used_endpoint_ids].flat().flatMap((ids) => ids.split(",").filter((id) => id !== ""));
      const filter = { ...(search && { search }), ...(calls.length > 0 && { calls }) };
      const { items, total } = await api.pipelines.list({
        ownerId,
        ...filter,
        limit: LIMITS.pipelinesOfOwnerMax,
        offset: 0,
      });
      return { workflows: items.map(itemBody), total };
    },
  );

  add(
    {
      method: "post",
      path: "/v1/workflows",
      says: "Saves a workflow. All that is wrong with its definition is named together.",
      scope: "API",
      body: given({ name: { type: "string" }, ...WORDS }),
      bodyBytesMax: LIMITS.pipelineBodyBytesMax,
      audit: "workflows.create",
      status: 201,
      answer: WORKFLOW,
      errors: ["pipeline_exists", "pipelines_exhausted"],
    },
    async ({ caller, body, change }) => {
      const { name, save } = await keeper.create(caller, body as Json);
      return change({ subject: savedEndpoint(name) }, async () => {
        const saved = await save();
        return { after: audited(saved), result: workflowBody(saved) };
      });
    },
  );

  add(
    {
      method: "get",
      path: "/v1/workflows/{username}/{workflow_name}",
      says: "Shows one, as it is now or as a version was.",
      scope: "API",
      params: ONE,
      query: z.object({ version: z.string().optional() }),
      answer: WORKFLOW,
      errors: ["pipeline_unknown"],
    },
    async ({ caller, params, query: { version } }) => {
      if (version !== undefined && !/^[1-9]\d{0,8}$/.test(version))
        throw new TemperaError("pipeline_unknown");
      const name = { ownerId: params.username, name: params.workflow_name };
      return workflowBody(
        await keeper.show(caller, name, version === undefined ? undefined : Number(version)),
      );
    },
  );

  add(
    {
      method: "patch",
      path: "/v1/workflows/{username}/{workflow_name}",
      says: "Changes what is given. Contents are a new version; what runs goes on with the one it began with.",
      scope: "API",
      params: ONE,
      body: given(WORDS),
      bodyBytesMax: LIMITS.pipelineBodyBytesMax,
      audit: "workflows.change",
      answer: WORKFLOW,
      errors: ["pipeline_unknown"],
    },
    async ({ caller, params, body, change }) => {
      const checked = await keeper.update(
        caller,
        { ownerId: params.username, name: params.workflow_name },
        body as Json,
      );
      return change(
        { subject: savedEndpoint(checked.name), ...(checked.before && { before: audited(checked.before) }) },
        async () => {
          const saved = await checked.save();
          return { after: audited(saved), result: workflowBody(saved) };
        },
      );
    },
  );

  add(
    {
      method: "delete",
      path: "/v1/workflows/{username}/{workflow_name}",
      says: "Removes one. What runs on it goes on.",
      scope: "API",
      params: ONE,
      audit: "workflows.remove",
      status: 204,
      errors: ["pipeline_unknown"],
    },
    async ({ caller, params, change }) => {
      const name = { ownerId: params.username, name: params.workflow_name };
      if (name.ownerId !== caller.ownerId) throw new TemperaError("pipeline_unknown");
      const before = await keeper.show(caller, name);
      return change({ subject: savedEndpoint(name), before: audited(before) }, async () => {
        await keeper.remove(caller, name);
        return { result: undefined };
      });
    },
  );
}
