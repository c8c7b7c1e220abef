import { type Context, Hono } from "hono";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import { errorInfo, isTemperaError, TemperaError } from "../core/errors/tempera-error.ts";
import { answerJson } from "./answer-json.ts";
import type { ApiDependencies } from "./dependencies.ts";
import type { Caller } from "./key-ring.ts";
import { createPipelineKeeper } from "./pipelines/keep-pipelines.ts";
import { createDeadLettersDiscard, createDeadLettersList, createDeadLettersRetry, createDeadLettersShow } from "./platform/dead-letters.ts";
import { createDeliveriesList, createDeliveriesRedeliver, createDeliveriesShow } from "./platform/deliveries.ts";
import { createEnginesList, createEnginesReset } from "./platform/engines.ts";
import { createKeysCreate, createKeysList, createKeysRevoke } from "./platform/keys.ts";
import { createModelsList } from "./platform/models.ts";
import { createSigningKeysList, createSigningKeysRotate } from "./platform/signing-keys.ts";
import {
  createWorkflowsCreate,
  createWorkflowsList,
  createWorkflowsRemove,
  createWorkflowsShow,
  createWorkflowsUpdate,
} from "./platform/workflows.ts";
import { requestIdOf } from "./request-id.ts";

/** The admin role's HTTP service (contract §10): the table of its routes. Workflows are open to every key; everything else but `/v1/meta` and the health check needs one of scope ADMIN. */
export function createAdmin(
  api: Pick<
    ApiDependencies,
    | "keyRing"
    | "keys"
    | "registry"
    | "jobs"
    | "events"
    | "requests"
    | "objects"
    | "deadLetters"
    | "deliveries"
    | "redeliveries"
    | "signingKeys"
    | "engines"
    | "pipelines"
    | "checkDefinition"
    | "webhookOf"
    | "clock"
    | "log"
  > & {
    /** The addresses that deliveries come from, as ranges: what receivers may let through. */
    webhookSources: string[];
  },
): Hono {
  const admin =
    (verb: (c: Context, caller: Caller) => Promise<Response>) =>
    async (c: Context): Promise<Response> => {
      const caller = await api.keyRing.authenticate(c.req.header("authorization"));
      if (caller.scope !== "ADMIN") throw new TemperaError("scope_missing", "This call needs a key of scope ADMIN.");
      return verb(c, caller);
    };
  const keyed =
    (verb: (c: Context, caller: Caller) => Promise<Response>) =>
    async (c: Context): Promise<Response> =>
      verb(c, await api.keyRing.authenticate(c.req.header("authorization")));
  const keeper = createPipelineKeeper(api);
  const app = new Hono({ strict: false });
  app.get("/v1/models", admin(createModelsList(api)));
  app.get("/v1/engines", admin(createEnginesList(api)));
  app.post("/v1/engines/reset", admin(createEnginesReset(api)));
  app.get("/v1/keys", admin(createKeysList(api)));
  app.post("/v1/keys", admin(createKeysCreate(api)));
  app.delete("/v1/keys/:key_id", admin(createKeysRevoke(api)));
  app.get("/v1/dead-letters", admin(createDeadLettersList(api)));
  app.get("/v1/dead-letters/:request_id", admin(createDeadLettersShow(api)));
  app.post("/v1/dead-letters/:request_id/retry", admin(createDeadLettersRetry(api)));
  app.delete("/v1/dead-letters/:request_id", admin(createDeadLettersDiscard(api)));
  app.get("/v1/deliveries", admin(createDeliveriesList(api)));
  app.get("/v1/deliveries/:request_id", admin(createDeliveriesShow(api)));
  app.post("/v1/deliveries/:request_id/redeliver", admin(createDeliveriesRedeliver(api)));
  app.get("/v1/signing-keys", admin(createSigningKeysList(api)));
  app.post("/v1/signing-keys/rotate", admin(createSigningKeysRotate(api)));
  app.get("/v1/workflows", keyed(createWorkflowsList(api)));
  app.post("/v1/workflows", keyed(createWorkflowsCreate(keeper)));
  app.get("/v1/workflows/:username/:workflow_name", keyed(createWorkflowsShow(keeper)));
  app.patch("/v1/workflows/:username/:workflow_name", keyed(createWorkflowsUpdate(keeper)));
  app.delete("/v1/workflows/:username/:workflow_name", keyed(createWorkflowsRemove(keeper)));
  app.get("/v1/meta", async (c) => answerJson(c, { webhook_ip_ranges: api.webhookSources }));
  app.get("/health/live", (c) => answerJson(c, { status: "live" }));
  app.notFound((c) => platformError(c, new TemperaError("path_unknown", `Path ${c.req.path.slice(0, 200)} not found`)));
  app.onError((error, c) => {
    if (!isTemperaError(error)) api.log.error({ err: error, path: c.req.path }, "unexpected error");
    return platformError(c, error);
  });
  return app;
}

/** The Platform API's error body: `{"error":{"type","message","request_id"}}` (contract §7.3). */
function platformError(c: Context, error: unknown): Response {
  const { code, message } = isTemperaError(error)
    ? errorInfo(error)
    : { code: "server_error" as const, message: CATALOGUE.server_error.says };
  const { status } = CATALOGUE[code];
  const type = PLATFORM_TYPES[status] ?? (status >= 500 ? "server_error" : "validation_error");
  return answerJson(c, { error: { type, message, request_id: requestIdOf(c) } }, status);
}

const PLATFORM_TYPES: Record<number, string> = {
  401: "authorization_error",
  403: "authorization_error",
  404: "not_found",
  429: "rate_limited",
};
