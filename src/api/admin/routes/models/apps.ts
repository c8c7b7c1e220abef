import { z } from "@hono/zod-openapi";
import type { EngineOnWorker } from "../../../../core/engines/engine-status.ts";
import { LIMITS } from "../../../../core/limits.ts";
import { appOf } from "../../../../core/models/endpoint.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";
import { allServed, listed } from "./endpoints.ts";

const APP = z
  .object({
    endpoint_id: z.string(),
    name: z.string(),
    owner: z.string(),
    environment: z.string(),
    machine_type: z
      .string()
      .openapi({ description: "The devices that it runs on now; empty when no GPU worker has it." }),
    auth_mode: z
      .enum(["private", "public", "shared"])
      .openapi({ description: "shared: every key may call it" }),
    keep_alive: z.int().openapi({
      description: "Seconds that an idle engine stays loaded; 0: until another model needs its memory.",
    }),
    min_concurrency: z.int(),
    max_concurrency: z.int(),
    request_timeout: z.number(),
    startup_timeout: z.number(),
    valid_regions: z.array(z.string()),
    updated_at: z.string(),
    endpoints: z.array(z.string()).optional(),
  })
  .openapi("App");

/** Adds the route of apps (contract §10): an app is fal's `owner/alias`, with all endpoints below it. */
export function addAppRoutes(
  addRoute: AddRoute,
  { registry, engines }: Pick<ApiDependencies, "registry" | "engines">,
): void {
  addRoute(
    {
      method: "get",
      path: "/v1/serverless/apps",
      summary: "Lists the apps that this platform serves.",
      scope: "API",
      query: z.object({
        environment: z.string().max(100).optional().openapi({ description: "The only environment is main." }),
        search: z.string().max(200).optional(),
        expand: listed(z.string().max(100), 10).optional().openapi({ description: "endpoints" }),
      }),
      response: z.object({ apps: z.array(APP), ...PAGE_FIELDS }),
    },
    async ({ query: { environment = "main", search = "", expand } }) => {
      const alive = (await engines.list()).filter(({ ageMs }) => ageMs <= LIMITS.engineReportSilenceMs);
      const apps = new Map<string, ModelVersion[]>();
      for (const { model } of allServed(registry)) {
        if (!model) continue; // pipelines do not run on GPU workers themselves
        const app = appOf(model.endpoint);
        apps.set(app, [...(apps.get(app) ?? []), model]);
      }
      const found = [...apps].filter(
        ([app]) => environment === "main" && app.toLowerCase().includes(search.toLowerCase()),
      );
      return {
        apps: found.map(([app, models]) => ({
          ...appBody(app, models, alive),
          ...(expand?.includes("endpoints") && { endpoints: models.map(({ endpoint }) => endpoint) }),
        })),
        ...SINGLE_PAGE,
      };
    },
  );
}

/** Describes an app of at least one model, with the engines that are alive. */
function appBody(app: string, models: ModelVersion[], alive: EngineOnWorker[]): z.input<typeof APP> {
  const [owner = "", name = ""] = app.split("/");
  const serving = alive.filter(({ endpoint, version }) =>
    models.some((model) => model.endpoint === endpoint && model.version === version),
  );
  const slotsOf = ({ endpoint }: { endpoint: string }): number =>
    models.find((model) => model.endpoint === endpoint)?.slots ?? 0;
  return {
    endpoint_id: app,
    name,
    owner,
    environment: "main",
    machine_type: [...new Set(serving.map(({ device }) => device))].sort().join(", "),
    auth_mode: "shared",
    keep_alive: 0,
    min_concurrency: models.filter(({ pinned }) => pinned).reduce((sum, model) => sum + model.slots, 0),
    max_concurrency: serving
      .filter(({ state }) => state !== "unhealthy")
      .reduce((sum, engine) => sum + slotsOf(engine), 0),
    request_timeout: Math.max(...models.map(({ timeouts }) => timeouts.runMs)) / 1000,
    startup_timeout: Math.max(...models.map(({ timeouts }) => timeouts.loadMs)) / 1000,
    valid_regions: [],
    updated_at: new Date(Math.max(...models.map(({ publishedAtMs = 0 }) => publishedAtMs))).toISOString(),
  };
}
