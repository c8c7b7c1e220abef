import type { Context } from "hono";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";

/** `GET /v1/models` → what can be called, every version, newest first (contract §10). */
export const createModelsList =
  ({ registry }: Pick<ApiDependencies, "registry">) =>
  async (c: Context): Promise<Response> =>
    answerJson(c, {
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
      next_cursor: null,
      has_more: false,
    });
