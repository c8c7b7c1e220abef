import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { type ModelVersion, taskQueueOf } from "../../../../core/models/model.ts";
import type { RequestIdentity } from "../../../../core/requests/request.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { AddRoute } from "../../http/route.ts";

/** The number of requests that are read from the store at once. */
const BATCH = 500;
/** The number of requests that are cancelled at the same time. */
const CONCURRENCY = 32;

const PATH = "/v1/serverless/apps/{owner}/{name}/queue";
const PARAMS = z.object({ owner: z.string(), name: z.string() });

type Dependencies = Pick<ApiDependencies, "registry" | "events" | "jobs" | "requestSearch">;

/**
 * Adds the routes of an app's queue: the requests of `owner/name` and of all endpoints below it (contract
 * §10).
 */
export function addQueueRoutes(addRoute: AddRoute, api: Dependencies): void {
  addRoute(
    {
      method: "get",
      path: PATH,
      wildcard: "name",
      summary: "Shows the number of an app's waiting requests.",
      scope: "API",
      params: PARAMS,
      response: z.object({ queue_size: z.int() }),
      errors: ["endpoint_unknown", "store_unavailable"],
    },
    async ({ params }) => ({ queue_size: await queueSize(api, appAt(api, params).models) }),
  );

  addRoute(
    {
      method: "delete",
      path: PATH,
      wildcard: "name",
      summary:
        "Cancels the waiting requests of an app: the caller's own, or with a key of scope ADMIN " +
        "everybody's. Running requests continue.",
      scope: "API",
      params: PARAMS,
      audit: "queue.flush",
      status: 204,
      errors: ["endpoint_unknown", "temporal_unavailable", "store_unavailable"],
    },
    async ({ params, caller, change }) => {
      const { models, endpoints } = appAt(api, params);
      const owner = caller.scope === "ADMIN" ? {} : { ownerId: caller.ownerId };
      const before = {
        queue_size: await queueSize(api, models),
        ...(owner.ownerId !== undefined && { of_owner: owner.ownerId }),
      };
      return change({ subject: `${params.owner}/${params.name}`, before }, async () => {
        let cancelled = 0;
        for (let after: string | undefined; ; ) {
          const batch = await api.requestSearch.unfinished({ endpoints, ...owner }, after, BATCH);
          cancelled += await cancelWaiting(api, batch);
          after = batch.at(-1)?.requestId;
          if (batch.length < BATCH) return { after: { cancelled }, result: undefined };
        }
      });
    },
  );
}

/** Returns an app's endpoints, and the model versions among them. Throws `endpoint_unknown`. */
function appAt({ registry }: Dependencies, { owner, name }: z.output<typeof PARAMS>) {
  const app = `${owner}/${name}`;
  const isWithin = ({ endpoint }: { endpoint: string }): boolean =>
    endpoint === app || endpoint.startsWith(`${app}/`);
  const [models, pipelines] = [registry.list().filter(isWithin), registry.pipelines().filter(isWithin)];
  const endpoints = [...new Set([...models, ...pipelines].map(({ endpoint }) => endpoint))];
  if (endpoints.length === 0)
    throw new TemperaError("endpoint_unknown", `There is no app ${app.slice(0, 100)}.`);
  return { models, endpoints };
}

async function queueSize({ events }: Dependencies, models: ModelVersion[]): Promise<number> {
  const sizes = await Promise.all(models.map((model) => events.waiting(taskQueueOf(model))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

/** Cancels those requests that no worker has started. Returns their number. */
async function cancelWaiting({ events, jobs }: Dependencies, requests: RequestIdentity[]): Promise<number> {
  const left = [...requests];
  let cancelled = 0;
  await Promise.all(
    Array.from({ length: CONCURRENCY }, async () => {
      for (let next = left.pop(); next; next = left.pop()) {
        // Temporal knows the state of a request that the event log has lost.
        const state =
          (await events.snapshot(next.requestId))?.state ?? (await jobs.describe(next.requestId))?.state;
        if (state !== "IN_QUEUE" || (await jobs.cancel(next.requestId)) !== "requested") continue;
        await events.announceCancel(next.requestId);
        cancelled++;
      }
    }),
  );
  return cancelled;
}
