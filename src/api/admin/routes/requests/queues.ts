import { z } from "@hono/zod-openapi";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { type ModelVersion, taskQueueOf } from "../../../../core/models/model.ts";
import type { RequestIdentity } from "../../../../core/requests/request.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import type { AddVerb } from "../../http/route.ts";

/** Requests looked at between two looks at the records, and cancelled at once. */
const BATCH = 500;
const AT_ONCE = 32;

/** The queue of one app: everything at and below `owner/name` (contract §10). */
export function addQueueVerbs(
  add: AddVerb,
  {
    registry,
    events,
    jobs,
    requestSearch,
  }: Pick<ApiDependencies, "registry" | "events" | "jobs" | "requestSearch">,
): void {
  const params = z.object({ owner: z.string(), name: z.string() });
  /** The endpoints of an app, and the versions of those that are models. Throws `endpoint_unknown`. */
  const appOf = ({ owner, name }: z.output<typeof params>) => {
    const app = `${owner}/${name}`;
    const within = ({ endpoint }: { endpoint: string }): boolean =>
      endpoint === app || endpoint.startsWith(`${app}/`);
    const [models, pipelines] = [registry.list().filter(within), registry.pipelines().filter(within)];
    const endpoints = [...new Set([...models, ...pipelines].map(({ endpoint }) => endpoint))];
    if (endpoints.length === 0)
      throw new TemperaError("endpoint_unknown", `There is no app ${app.slice(0, 100)}.`);
    return { models, endpoints };
  };
  const sizeOf = async (models: ModelVersion[]): Promise<number> =>
    (await Promise.all(models.map((model) => events.waiting(taskQueueOf(model))))).reduce(
      (sum, each) => sum + each,
      0,
    );

  add(
    {
      method: "get",
      path: "/v1/serverless/apps/{owner}/{name}/queue",
      slashes: "name",
      says: "Tells how many requests of an app wait.",
      scope: "API",
      params,
      answer: z.object({ queue_size: z.int() }),
      errors: ["endpoint_unknown", "store_unavailable"],
    },
    async ({ params: asked }) => ({ queue_size: await sizeOf(appOf(asked).models) }),
  );

  add(
    {
      method: "delete",
      path: "/v1/serverless/apps/{owner}/{name}/queue",
      slashes: "name",
      says: "Cancels the requests that wait: the caller's own, with a key of scope ADMIN everybody's. Those that run go on.",
      scope: "API",
      params,
      audit: "queue.flush",
      status: 204,
      errors: ["endpoint_unknown", "temporal_unavailable", "store_unavailable"],
    },
    async ({ params: asked, caller, change }) => {
      const { models, endpoints } = appOf(asked);
      const ownerId = caller.scope === "ADMIN" ? undefined : caller.ownerId;
      const before = {
        queue_size: await sizeOf(models),
        ...(ownerId !== undefined && { of_owner: ownerId }),
      };
      return change({ subject: `${asked.owner}/${asked.name}`, before }, async () => {
        let cancelled = 0;
        for (let after: string | undefined; ; ) {
          const some = await requestSearch.unfinished(
            { endpoints, ...(ownerId !== undefined && { ownerId }) },
            after,
            BATCH,
          );
          cancelled += await cancelWaiting(some);
          after = some.at(-1)?.requestId;
          if (some.length < BATCH) return { after: { cancelled }, result: undefined };
        }
      });
    },
  );

  /** Cancels those that nobody has begun with. Returns how many. */
  async function cancelWaiting(requests: RequestIdentity[]): Promise<number> {
    const left = [...requests];
    let cancelled = 0;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (let next = left.pop(); next; next = left.pop()) {
          // One that the event log does not know is asked for at Temporal.
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
}
