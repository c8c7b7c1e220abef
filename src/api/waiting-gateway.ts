import { Hono } from "hono";
import type { ObjectStore } from "../core/files/object-store.ts";
import type { Log } from "../core/operations/log.ts";
import type { RoleHealth } from "../core/operations/process-health.ts";
import { falError, parseFilePath, TREES } from "../fal/index.ts";
import { createArtifact } from "./files/file.ts";
import { createFilesHostGuard, filesHostRedirect } from "./files/files-host.ts";
import { createBrowserHeaders } from "./gateway.ts";
import { addHealthRoutes } from "./health/routes.ts";
import { rawPath } from "./http/address.ts";
import { answerError } from "./http/answer-error.ts";
import { answerJson } from "./http/answer-json.ts";
import { createGetPath, trustForwardedOrigin } from "./http/host-routing.ts";
import { createFilesBudget } from "./limits/budgets.ts";

export interface WaitingGatewayDependencies {
  objects: ObjectStore;
  health: RoleHealth;
  log: Log;
  trustProxy: boolean | undefined;
  filesUrl?: string | undefined;
}

/** The error of a call that needs PostgreSQL. The log has its address and why it was not reached. */
export const NOT_REACHED = {
  code: "store_unavailable",
  message: "PostgreSQL was not reached yet since the start. Try again.",
} as const;

/**
 * Builds the public HTTP service of a gateway that has not reached PostgreSQL since its start. It knows no
 * keys and no disabled endpoints yet, so it serves artifacts, whose addresses are secrets, and refuses the
 * rest.
 */
export function createWaitingGateway(api: WaitingGatewayDependencies): Hono {
  const app = new Hono({ getPath: createGetPath(api.trustProxy === true) });
  if (api.trustProxy) app.use(trustForwardedOrigin);
  app.use(createFilesHostGuard(api.filesUrl));
  app.use(createBrowserHeaders());
  addHealthRoutes(app, api);
  const artifact = createArtifact({ ...api, budgets: { files: createFilesBudget() } });
  app.get(`${TREES.files.prefix}/*`, (c, next) => {
    const path = parseFilePath(rawPath(c).slice(TREES.files.prefix.length + 1));
    if (path?.kind !== "artifact" || path.sign) return next();
    return filesHostRedirect(c, api.filesUrl) ?? artifact(c, path.path);
  });
  app.all("*", (c) => {
    const { status, headers, body } = falError(NOT_REACHED);
    return answerJson(c, body, status, headers);
  });
  app.onError((error, c) => answerError(c, error, api));
  return app;
}
