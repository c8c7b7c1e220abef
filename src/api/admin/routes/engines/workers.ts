import { z } from "@hono/zod-openapi";
import type { EngineOnWorker } from "../../../../core/engines/engine-status.ts";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

const WORKER = z
  .object({
    worker: z.string(),
    device: z.string(),
    state: z.enum(["serving", "draining", "drained", "lost"]).openapi({
      description: "draining: takes nothing new and has requests in hand; lost: says nothing any more",
    }),
    budget_mib: z.number(),
    memory_mib: z.number().openapi({ description: "Held by its engines, as they last said." }),
    models: z.int(),
    ready: z.int().openapi({ description: "Of those, with a loaded engine." }),
    running: z.int(),
    waiting: z.int(),
    reported_seconds_ago: z.number(),
  })
  .openapi("Worker");

const sum = (engines: EngineOnWorker[], of: (engine: EngineOnWorker) => number): number =>
  engines.reduce((total, engine) => total + of(engine), 0);

function workerBody(engines: EngineOnWorker[]): z.input<typeof WORKER> {
  const [{ worker, device, budgetMiB, ageMs }] = engines as [EngineOnWorker];
  const drained = engines.every((engine) => engine.drained);
  const inHand =
    sum(engines, ({ running, waiting }) => running + waiting) > 0 || engines.some(({ polled }) => polled);
  return {
    worker,
    device,
    state:
      ageMs > LIMITS.engineReportSilenceMs ? "lost" : !drained ? "serving" : inHand ? "draining" : "drained",
    budget_mib: budgetMiB,
    memory_mib: sum(engines, ({ memoryMiB = 0 }) => memoryMiB),
    models: engines.length,
    ready: engines.filter(({ state }) => state === "ready").length,
    running: sum(engines, ({ running }) => running),
    waiting: sum(engines, ({ waiting }) => waiting),
    reported_seconds_ago: Math.round(ageMs / 100) / 10,
  };
}

/** The GPU workers. */
export function addWorkerVerbs(add: AddVerb, { engines }: Pick<ApiDependencies, "engines">): void {
  const workers = async (): Promise<z.input<typeof WORKER>[]> => {
    const byWorker = new Map<string, EngineOnWorker[]>();
    for (const engine of await engines.list())
      byWorker.set(engine.worker, [...(byWorker.get(engine.worker) ?? []), engine]);
    return [...byWorker.values()].map(workerBody).sort((a, b) => (a.worker < b.worker ? -1 : 1));
  };

  add(
    {
      method: "get",
      path: "/v1/tempera/workers",
      says: "Lists the GPU workers.",
      scope: "ADMIN",
      answer: z.object({ workers: z.array(WORKER), ...PAGE_ANSWER }),
    },
    async () => ({ workers: await workers(), ...WHOLE }),
  );

  for (const [verb, on, says] of [
    [
      "drain",
      true,
      "Lets a worker take no new requests; those in hand have its time of grace, then another worker goes on with them.",
    ],
    ["resume", false, "Lets a worker take requests again, of all its models."],
  ] as const) {
    add(
      {
        method: "post",
        path: `/v1/tempera/workers/{worker}/${verb}`,
        says,
        scope: "ADMIN",
        params: z.object({ worker: z.string() }),
        audit: `workers.${verb}`,
        status: 202,
        answer: z.object({ worker: z.string(), drained: z.boolean() }),
        errors: ["engine_unknown"],
      },
      async ({ params: { worker }, change }) => {
        const before = (await workers()).find((each) => each.worker === worker);
        return change({ subject: worker, ...(before && { before }) }, async () => {
          if (!(await engines.drainWorker(worker, on)) && !before)
            throw new TemperaError("engine_unknown", `There is no worker ${worker.slice(0, 100)}.`);
          return { after: { drained: on }, result: { worker, drained: on } };
        });
      },
    );
  }
}
