import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PipelineName } from "../../core/saved-pipeline.ts";
import { workflowDetail, workflowItem } from "../../fal/workflow-record.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../key-ring.ts";
import type { PipelineKeeper } from "../pipelines/keep-pipelines.ts";
import { readJsonBody } from "../read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../request-id.ts";

/** A verb of the Platform API that any key may use: what it sees is its owner's. */
type Verb = (c: Context, caller: Caller) => Promise<Response>;

const named = (c: Context): PipelineName => ({ ownerId: c.req.param("username") ?? "", name: c.req.param("workflow_name") ?? "" });

/** `GET /v1/workflows?search=&used_endpoint_ids=` → the caller's own, newest first, without their contents (contract §10). */
export const createWorkflowsList =
  ({ pipelines }: Pick<ApiDependencies, "pipelines">): Verb =>
  async (c, { ownerId }) => {
    const search = c.req.query("search");
    const calls = (c.req.queries("used_endpoint_ids") ?? []).flatMap((ids) => ids.split(",")).filter((id) => id !== "");
    const { items, total } = await pipelines.list({
      ownerId,
      ...(search && { search }),
      ...(calls.length > 0 && { calls }),
      limit: LIMITS.pipelinesOfOwnerMax,
      offset: 0,
    });
    return answerJson(c, { workflows: items.map(workflowItem), total });
  };

/** `POST /v1/workflows` → 201. 422 with every fault of the definition; 400 when the name is taken. */
export const createWorkflowsCreate =
  (keeper: PipelineKeeper): Verb =>
  async (c, caller) => {
    const body = await readJsonBody(c, LIMITS.pipelineBodyBytesMax);
    return answerJson(c, { workflow: workflowDetail(await keeper.create(caller, body)) }, 201);
  };

/** `GET /v1/workflows/{username}/{workflow_name}?version=` → one, as it is now or as that version was. */
export const createWorkflowsShow =
  (keeper: PipelineKeeper): Verb =>
  async (c, caller) => {
    const version = c.req.query("version");
    if (version !== undefined && !/^[1-9]\d{0,8}$/.test(version)) throw new TemperaError("pipeline_unknown");
    const saved = await keeper.show(caller, named(c), version === undefined ? undefined : Number(version));
    return answerJson(c, { workflow: workflowDetail(saved) });
  };

/** `PATCH /v1/workflows/{username}/{workflow_name}` → changes what is given; `contents` are a new version. */
export const createWorkflowsUpdate =
  (keeper: PipelineKeeper): Verb =>
  async (c, caller) => {
    const body = await readJsonBody(c, LIMITS.pipelineBodyBytesMax);
    return answerJson(c, { workflow: workflowDetail(await keeper.update(caller, named(c), body)) });
  };

/** `DELETE /v1/workflows/{username}/{workflow_name}` → 204. What runs on it goes on. */
export const createWorkflowsRemove =
  (keeper: PipelineKeeper): Verb =>
  async (c, caller) => {
    await keeper.remove(caller, named(c));
    return c.body(null, 204, { [REQUEST_ID_HEADER]: requestIdOf(c) });
  };
