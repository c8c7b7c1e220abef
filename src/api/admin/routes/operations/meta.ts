import { z } from "@hono/zod-openapi";
import type { AddRoute } from "../../http/route.ts";

/** Adds the route of the installation's public facts (contract §8). */
export function addMetaRoutes(addRoute: AddRoute, { webhookSources }: { webhookSources: string[] }): void {
  addRoute(
    {
      method: "get",
      path: "/v1/meta",
      summary: "Shows the IP address ranges that webhooks come from.",
      scope: "none",
      response: z.object({ webhook_ip_ranges: z.array(z.string()) }),
    },
    async () => ({ webhook_ip_ranges: webhookSources }),
  );
}
