import { z } from "@hono/zod-openapi";
import type { ApiDependencies } from "../dependencies.ts";
import { PAGE_ANSWER, WHOLE } from "./page.ts";
import type { AddVerb } from "./verb.ts";

const MODEL = z
  .object({
    endpoint_id: z.string(),
    metadata: z.object({ display_name: z.string(), description: z.string(), category: z.string(), status: z.string() }),
    version: z.string(),
    digest: z.string(),
    runner: z.string(),
    engine: z.string(),
    slots: z.int(),
    memory_mib: z.number(),
    pinned: z.boolean(),
  })
  .openapi("Model");

/** What can be called (contract §10). */
export function addModelVerbs(add: AddVerb, { registry }: Pick<ApiDependencies, "registry">): void {
  add(
    {
      method: "get",
      path: "/v1/models",
      says: "Lists what can be called, every version, newest first.",
      scope: "ADMIN",
      answer: z.object({ models: z.array(MODEL), ...PAGE_ANSWER }),
    },
    async () => ({
      models: registry
        .list()
        .map(({ endpoint, version, digest, title, description, category, runner, engine, slots, memoryMiB, pinned }) => ({
          endpoint_id: endpoint,
          metadata: { display_name: title, description, category, status: "active" },
          version,
          digest,
          runner,
          engine,
          slots,
          memory_mib: memoryMiB,
          pinned,
        })),
      ...WHOLE,
    }),
  );
}
