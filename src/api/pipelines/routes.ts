import type { Context, Hono } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { PipelineName } from "../../core/pipelines/saved-pipeline.ts";
import { TREES } from "../../fal/index.ts";
import { restWorkflowDetail, restWorkflowItem } from "../../fal/workflow-record.ts";
import { answerJson } from "../http/answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Caller } from "../auth/key-ring.ts";
import { methodNotAllowed } from "../http/method-not-allowed.ts";
import { readJsonBody } from "../http/read-body.ts";
import { REQUEST_ID_HEADER, requestIdOf } from "../http/request-id.ts";
import { createPipelineKeeper } from "./pipeline-keeper.ts";

const PAGE_SIZE = 50;
const PAGE_SIZE_MAX = 100;
const PAGE_MAX = 1_000_000;

/**
 * Saved workflows as fal's SDK keeps them (contract §11.3): `/rest/workflows`, and below it
 * `/{user_id}/{name}`.
 */
export function pipelineRoutes(
  app: Hono,
  api: Pick<ApiDependencies, "keyRing" | "limits" | "pipelines" | "checkDefinition" | "clock" | "log">,
): void {
  const keeper = createPipelineKeeper(api);
  const keyed = (verb: (c: Context, caller: Caller) => Promise<Response>) => async (c: Context) =>
    verb(c, await api.keyRing.authenticate(c.req.header("authorization")));
  const named = (c: Context): PipelineName => ({
    ownerId: c.req.param("user_id") ?? "",
    name: c.req.param("name") ?? "",
  });
  /** Checking a definition is work: it counts as a call of the caller's. */
  const readBody = async (c: Context, caller: Caller) => {
    await api.limits.call(caller);
    return readJsonBody(c, LIMITS.pipelineBodyBytesMax);
  };

  const list = async (c: Context, { ownerId }: Caller): Promise<Response> => {
    const page = countOf(c, "page", 1, PAGE_MAX);
    const size = countOf(c, "size", PAGE_SIZE, PAGE_SIZE_MAX);
    const { items, total } = await api.pipelines.list({ ownerId, limit: size, offset: (page - 1) * size });
    return answerJson(c, {
      items: items.map(restWorkflowItem),
      total,
      page,
      size,
      pages: Math.ceil(total / size),
    });
  };
  const create = async (c: Context, caller: Caller) =>
    answerJson(
      c,
      restWorkflowDetail(await (await keeper.create(caller, await readBody(c, caller))).save()),
      201,
    );
  const show = async (c: Context, caller: Caller) =>
    answerJson(c, restWorkflowDetail(await keeper.show(caller, named(c))));
  const update = async (c: Context, caller: Caller) =>
    answerJson(
      c,
      restWorkflowDetail(await (await keeper.update(caller, named(c), await readBody(c, caller))).save()),
    );
  const remove = async (c: Context, caller: Caller): Promise<Response> => {
    await keeper.remove(caller, named(c));
    return c.body(null, 204, { [REQUEST_ID_HEADER]: requestIdOf(c) });
  };

  const all = `${TREES.rest.prefix}/workflows`;
  const one = `${all}/:user_id/:name`;
  app.get(all, keyed(list));
  app.post(all, keyed(create));
  app.all(all, methodNotAllowed(api, "GET, HEAD, POST"));
  app.get(one, keyed(show));
  app.patch(one, keyed(update));
  app.delete(one, keyed(remove));
  app.all(one, methodNotAllowed(api, "GET, HEAD, PATCH, DELETE"));
}

function countOf(c: Context, field: string, preset: number, max: number): number {
  const text = c.req.query(field);
  if (text === undefined) return preset;
  if (/^\d{1,9}$/.test(text) && Number(text) >= 1 && Number(text) <= max) return Number(text);
  const msg = `Input should be an integer from 1 to ${max}`;
  throw new TemperaError("input_invalid", `${field}: ${msg}`, {
    faults: [{ loc: ["query", field], msg, type: "value_error" }],
  });
}
