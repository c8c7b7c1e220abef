import { z } from "@hono/zod-openapi";
import { appOf } from "../../../../core/models/endpoint.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ModelVersion } from "../../../../core/models/model.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { allServed, listed } from "./endpoints.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

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
    keep_alive: z
      .int()
      .openapi({ description: "Seconds an idle engine stays; 0: until another model needs the room." }),
    min_concurrency: z.int(),
    max_concurrency: z.int(),
    request_timeout: z.number(),
    startup_timeout: z.number(),
    valid_regions: z.array(z.string()),
    updated_at: z.string(),
    endpoints: z.array(z.string()).optional(),
  })
  .openapi("App");

/** What runs where (contract §10): an app is what fal calls `owner/alias`, with the endpoints below it. */
export function addAppVerbs(
  add: AddVerb,
  { registry, engines }: Pick<ApiDependencies, "registry" | "engines">,
): void {
  add(
    {
      method: "get",
      path: "/v1/serverless/apps",
      says: "Lists the apps that this platform serves.",
      scope: "API",
      query: z.object({
        environment: z.string().max(100).optional().openapi({ description: "There is one: main." }),
        search: z.string().max(200).optional(),
        expand: listed(z.string().max(100), 10).optional().openapi({ description: "endpoints" }),
      }),
      answer: z.object({ apps: z.array(APP), ...PAGE_ANSWER }),
    },
    async ({ query: { environment = "main", search = "", expand } }) => {
      const alive = (await engines.list()).filter(({ ageMs }) => ageMs <= LIMITS.engineReportSilenceMs);
      const apps = new Map<string, ModelVersion[]>();
      for (const { model } of allServed(registry)) {
        if (!model) continue; // a pipeline runs nowhere by itself
        const app = appOf(model.endpoint);
        apps.set(app, [...(apps.get(app) ?? []), model]);
      }
      const found = [...apps].filter(
        ([app]) => environment === "main" && app.toLowerCase().includes(search.toLowerCase()),
      );
      return {
        apps: found.map(([app, models]): z.input<typeof APP> => {
          const [owner = "", name = ""] = app.split("/");
          const serving = alive.filter(({ endpoint, version }) =>
            models.some((model) => model.endpoint === endpoint && model.version === version),
          );
          const slots = ({ endpoint }: { endpoint: string }): number =>
            models.find((model) => model.endpoint === endpoint)?.slots ?? 0;
          return {
            endpoint_id: app,
            name,
            owner,
            environment: "main",
            machine_type: [...new Set(serving.map(({ device }) => device))].sort().join(", "),
            auth_mode: "shared",
            keep_alive: 0,
            min_concurrency: models
              .filter(({ pinned }) => pinned)
              .reduce((sum, model) => sum + model.slots, 0),
            max_concurrency: serving
              .filter(({ state }) => state !== "out")
              .reduce((sum, engine) => sum + slots(engine), 0),
            request_timeout: Math.max(...models.map(({ timeouts }) => timeouts.runMs)) / 1000,
            startup_timeout: Math.max(...models.map(({ timeouts }) => timeouts.loadMs)) / 1000,
            valid_regions: [],
            updated_at: new Date(
              Math.max(...models.map(({ publishedAtMs = 0 }) => publishedAtMs)),
            ).toISOString(),
            ...(expand?.includes("endpoints") && { endpoints: models.map(({ endpoint }) => endpoint) }),
          };
        }),
        ...WHOLE,
      };
    },
  );
}
