import { z } from "@hono/zod-openapi";
import type { EngineOnWorker } from "../../../../core/engines/engine-status.ts";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";

const WORKER = z
  .object({
    worker: z.string(),
    device: z.string(),
    state: z.enum(["serving", "draining", "drained", "lost"]).openapi({
      description: "draining: takes no new requests and still runs some; lost: the worker no longer reports",
    }),
    budget_mib: z.number(),
    memory_mib: z.number().openapi({ description: "Memory of its engines, as they last reported." }),
    models: z.int(),
    ready: z.int().openapi({ description: "Models with a loaded engine." }),
    running: z.int(),
    waiting: z.int(),
    reported_seconds_ago: z.number(),
  })
  .openapi("Worker");

/** A GPU worker, as the API shows it. */
export type WorkerView = z.output<typeof WORKER>;

const sum = (engines: EngineOnWorker[], of: (engine: EngineOnWorker) => number): number =>
  engines.reduce((total, engine) => total + of(engine), 0);

function stateOf(engines: [EngineOnWorker, ...EngineOnWorker[]]): WorkerView["state"] {
  if (engines[0].ageMs > LIMITS.engineReportSilenceMs) return "lost";
  if (!engines.every(({ drained }) => drained)) return "serving";
  const busy = engines.some(({ running, waiting, polled }) => running + waiting > 0 || polled);
  return busy ? "draining" : "drained";
}

function workerBody(engines: [EngineOnWorker, ...EngineOnWorker[]]): WorkerView {
  const [{ worker, device, budgetMiB, ageMs }] = engines;
  return {
    worker,
    device,
    state: stateOf(engines),
    budget_mib: budgetMiB,
    memory_mib: sum(engines, ({ memoryMiB = 0 }) => memoryMiB),
    models: engines.length,
    ready: engines.filter(({ state }) => state === "ready").length,
    running: sum(engines, ({ running }) => running),
    waiting: sum(engines, ({ waiting }) => waiting),
    reported_seconds_ago: Math.round(ageMs / 100) / 10,
  };
}

/** Adds the routes of GPU workers. */
export function addWorkerRoutes(addRoute: AddRoute, { engines }: Pick<ApiDependencies, "engines">): void {
  const workers = async (): Promise<WorkerView[]> => {
    const byWorker = new Map<string, [EngineOnWorker, ...EngineOnWorker[]]>();
    for (const engine of await engines.list())
      byWorker.set(engine.worker, [...(byWorker.get(engine.worker) ?? []), engine] as [EngineOnWorker]);
    return [...byWorker.values()].map(workerBody).sort((a, b) => (a.worker < b.worker ? -1 : 1));
  };

  addRoute(
    {
      method: "get",
      path: "/v1/tempera/workers",
      summary: "Lists the GPU workers.",
      scope: "ADMIN",
      response: z.object({ workers: z.array(WORKER), ...PAGE_FIELDS }),
    },
    async () => ({ workers: await workers(), ...SINGLE_PAGE }),
  );

  for (const [action, drained, summary] of [
    [
      "drain",
      true,
      "Lets a worker take no new requests. Requests that run have its grace period; " +
        "then another worker continues them.",
    ],
    ["resume", false, "Lets a worker take requests of all its models again."],
  ] as const) {
    addRoute(
      {
        method: "post",
        path: `/v1/tempera/workers/{worker}/${action}`,
        summary,
        scope: "ADMIN",
        params: z.object({ worker: z.string() }),
        audit: `workers.${action}`,
        status: 202,
        response: z.object({ worker: z.string(), drained: z.boolean() }),
        errors: ["engine_unknown"],
      },
      async ({ params: { worker }, change }) => {
        const before = (await workers()).find((each) => each.worker === worker);
        return change({ subject: worker, ...(before && { before }) }, async () => {
          if (!(await engines.drainWorker(worker, drained)) && !before)
            throw new TemperaError("engine_unknown", `There is no worker ${worker.slice(0, 100)}.`);
          return { after: { drained }, result: { worker, drained } };
        });
      },
    );
  }
}
