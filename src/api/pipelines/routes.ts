/**
 * Saved pipelines, which fal calls workflows: their routes for fal's SDK here, their rules in
 * `saved-pipeline-service.ts`, the check of their definitions in `check-definition.ts`. The jobs that run
 * them are built by `pipeline-job.ts` and `rerun-job.ts`.
 */

import type { Context, Hono } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PipelineName } from "../../core/pipelines/saved-pipeline.ts";
import { TREES } from "../../fal/index.ts";
import { restWorkflowDetail, restWorkflowItem } from "../../fal/workflow-record.ts";
import { callOf } from "../auth/call.ts";
import type { Caller } from "../auth/key-ring.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { answerJson } from "../http/answer-json.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { readJsonBody } from "../http/read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import { createSavedPipelineService } from "./saved-pipeline-service.ts";

const PAGE_SIZE = 50;
const PAGE_SIZE_MAX = 100;
const PAGE_MAX = 1_000_000;

/**
 * Serves saved workflows to fal's SDK (contract §11.3): `/rest/workflows`, and below it `/{user_id}/{name}`.
 */
export function pipelineRoutes(
  app: Hono,
  api: Pick<ApiDependencies, "keyRing" | "pipelines" | "checkDefinition" | "clock" | "log">,
): void {
  const service = createSavedPipelineService(api);
  const authenticated = (handle: (c: Context, caller: Caller) => Promise<Response>) => async (c: Context) =>
    handle(c, await api.keyRing.authenticate(c.req.header("authorization"), callOf(c)));
  const named = (c: Context): PipelineName => ({
    ownerId: c.req.param("user_id") ?? "",
    name: c.req.param("name") ?? "",
  });
  const readBody = (c: Context) => readJsonBody(c, LIMITS.pipelineBodyBytesMax, LIMITS.pipelineBodyFieldsMax);

  const list = async (c: Context, caller: Caller): Promise<Response> => {
    const page = countOf(c, "page", 1, PAGE_MAX);
    const size = countOf(c, "size", PAGE_SIZE, PAGE_SIZE_MAX);
    const { items, total } = await service.list(caller, { limit: size, offset: (page - 1) * size });
    return answerJson(c, {
      items: items.map(restWorkflowItem),
      total,
      page,
      size,
      pages: Math.ceil(total / size),
    });
  };
  const create = async (c: Context, caller: Caller) =>
    answerJson(c, restWorkflowDetail(await (await service.create(caller, await readBody(c))).save()), 201);
  const show = async (c: Context, caller: Caller) =>
    answerJson(c, restWorkflowDetail(await service.show(caller, named(c))));
  const update = async (c: Context, caller: Caller) =>
    answerJson(
      c,
      restWorkflowDetail(await (await service.update(caller, named(c), await readBody(c))).save()),
    );
  const remove = async (c: Context, caller: Caller): Promise<Response> => {
    await service.remove(caller, named(c));
    return c.body(null, 204, { [REQUEST_ID_HEADER]: requestIdOf(c) });
  };

  const all = `${TREES.rest.prefix}/workflows`;
  const one = `${all}/:user_id/:name`;
  app.get(all, authenticated(list));
  app.post(all, authenticated(create));
  app.all(all, methodNotAllowed(api, "GET, HEAD, POST"));
  app.get(one, authenticated(show));
  app.patch(one, authenticated(update));
  app.delete(one, authenticated(remove));
  app.all(one, methodNotAllowed(api, "GET, HEAD, PATCH, DELETE"));
}

/** Reads a whole number from 1 to `max` in the query. Throws `input_invalid`. */
function countOf(c: Context, field: string, fallback: number, max: number): number {
  const text = c.req.query(field);
  if (text === undefined) return fallback;
  if (/^\d{1,9}$/.test(text) && Number(text) >= 1 && Number(text) <= max) return Number(text);
  const msg = `Input should be an integer from 1 to ${max}`;
  throw new TemperaError("input_invalid", `${field}: ${msg}`, {
    faults: [{ loc: ["query", field], msg, type: "value_error" }],
  });
}
