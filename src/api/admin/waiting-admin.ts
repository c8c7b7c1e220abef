import { Hono } from "hono";
import type { RoleHealth } from "../../core/operations/process-health.ts";
import { addHealthRoutes } from "../health/routes.ts";
import { answerJson } from "../http/answer-json.ts";
import { requestIdOf } from "../http/request-id.ts";
import { NOT_REACHED } from "../waiting-gateway.ts";

/** Builds the admin service that has not reached PostgreSQL since its start, and refuses all but health. */
export function createWaitingAdmin(api: { health: RoleHealth }): Hono {
  const app = new Hono({ strict: false });
  addHealthRoutes(app, api);
  app.all("*", (c) => {
    const error = { type: "server_error", ...NOT_REACHED, request_id: requestIdOf(c) };
    return answerJson(c, { error }, 503, { "retry-after": "2" });
  });
  return app;
}
