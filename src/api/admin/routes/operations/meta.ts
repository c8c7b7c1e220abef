import { z } from "@hono/zod-openapi";
import type { AddVerb } from "../../http/route.ts";

/** What anybody may know of this installation (contract §8). */
export function addMetaVerbs(add: AddVerb, { webhookSources }: { webhookSources: string[] }): void {
  add(
    {
      method: "get",
      path: "/v1/meta",
      says: "Tells the addresses that webhooks come from, as ranges.",
      scope: "none",
      answer: z.object({ webhook_ip_ranges: z.array(z.string()) }),
    },
    async () => ({ webhook_ip_ranges: webhookSources }),
  );
}
