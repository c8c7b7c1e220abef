import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { Route } from "../../http/describe-route.ts";
import type { AddRoute } from "../../http/route.ts";

/** The calls of fal's Platform API (contract §10). Those without a route of their own reply with 501. */
const PLATFORM_CALLS = `
  GET    /v1/models
  GET    /v1/models/pricing
  POST   /v1/models/pricing/estimate
  GET    /v1/models/usage
  GET    /v1/models/analytics
  GET    /v1/models/billing-events
  DELETE /v1/models/requests/{request_id}/payloads
  GET    /v1/models/requests/by-endpoint
  GET    /v1/models/requests/search
  GET    /v1/workflows
  POST   /v1/workflows
  GET    /v1/workflows/{username}/{workflow_name}
  GET    /v1/assets
  POST   /v1/assets
  GET    /v1/assets/{rest}
  POST   /v1/assets/{rest}
  PUT    /v1/assets/{rest}
  PATCH  /v1/assets/{rest}
  DELETE /v1/assets/{rest}
  GET    /v1/storage/files/acl
  PUT    /v1/storage/files/acl
  POST   /v1/storage/files/sign
  GET    /v1/storage/settings
  PUT    /v1/storage/settings
  GET    /v1/serverless/apps
  GET    /v1/serverless/apps/{owner}/{name}/queue
  DELETE /v1/serverless/apps/{owner}/{name}/queue
  GET    /v1/serverless/apps/{owner}/{name}/runners/history
  GET    /v1/serverless/apps/{owner}/{name}/events
  GET    /v1/serverless/apps/{owner}/{name}/revisions
  GET    /v1/serverless/files/list
  GET    /v1/serverless/files/list/{rest}
  GET    /v1/serverless/files/file/{rest}
  POST   /v1/serverless/files/file/url/{rest}
  POST   /v1/serverless/files/file/local/{rest}
  GET    /v1/serverless/metrics
  POST   /v1/serverless/logs/history
  POST   /v1/serverless/logs/stream
  GET    /v1/serverless/requests/by-endpoint
  GET    /v1/serverless/analytics
  GET    /v1/serverless/usage
  GET    /v1/compute/instances
  POST   /v1/compute/instances
  GET    /v1/compute/instances/{instance_id}
  DELETE /v1/compute/instances/{instance_id}
  GET    /v1/keys
  POST   /v1/keys
  DELETE /v1/keys/{key_id}
  GET    /v1/account/billing
  GET    /v1/account/focus
  GET    /v1/account/model-access-controls
  GET    /v1/organization/usage
  GET    /v1/organization/billing-events
  GET    /v1/organization/focus
  GET    /v1/organization/teams
  GET    /v1/meta
`
  .trim()
  .split("\n")
  .map((line) => {
    const [method = "", path = ""] = line.trim().split(/\s+/);
    return { method: method.toLowerCase() as Route["method"], path };
  });

/**
 * Adds a route for each of fal's calls that has none yet, so that callers learn that the call exists and is
 * not implemented. Call it after all other `add…Routes`.
 */
export function addNotImplementedRoutes(
  addRoute: AddRoute,
  isAdded: (method: string, path: string) => boolean,
): void {
  for (const { method, path } of PLATFORM_CALLS) {
    if (isAdded(method, path)) continue;
    const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
    addRoute(
      {
        method,
        path,
        ...(names.at(-1) === "rest" && { wildcard: "rest" }),
        summary: "Not implemented.",
        scope: "API",
        ...(names.length > 0 && {
          params: z.object(Object.fromEntries(names.map((name) => [name, z.string()]))),
        }),
        ...(method !== "get" && { audit: null }),
        status: 501,
        errors: ["not_implemented"],
      },
      async () => {
        throw new TemperaError(
          "not_implemented",
          `${method.toUpperCase()} ${path} of fal's Platform API is not implemented here.`,
        );
      },
    );
  }
}
