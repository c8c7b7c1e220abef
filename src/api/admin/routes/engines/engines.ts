/**
 * The admin API of GPU workers: `workers.ts` shows and drains whole workers, `engines.ts` the model versions
 * on them. Workers and the admin service never talk to each other: both use the engine status store.
 */
import { z } from "@hono/zod-openapi";
import type { EngineOnWorker } from "../../../../core/engines/engine-status.ts";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_FIELDS, SINGLE_PAGE } from "../../http/page.ts";
import type { AddRoute } from "../../http/route.ts";

const ENGINE = z
  .object({
    endpoint_id: z.string(),
    version: z.string(),
    worker: z.string(),
    device: z.string(),
    state: z.enum(["stopped", "loading", "ready", "unhealthy", "lost"]).openapi({
      description:
        "unhealthy: its engine kept crashing or does not fit, so the worker takes no requests of it; " +
        "lost: its worker no longer reports",
    }),
    drained: z
      .boolean()
      .openapi({ description: "true: an operator has stopped the worker from taking requests of it" }),
    polled: z.boolean().openapi({ description: "true: the worker takes requests of the model now" }),
    pid: z.int().nullable(),
    memory_mib: z.number().nullable(),
    budget_mib: z.number(),
    running: z.int(),
    waiting: z.int(),
    failures: z.int(),
    last_failure: z.string().nullable(),
    reported_seconds_ago: z.number(),
  })
  .openapi("Engine");

/** A model version on a GPU worker, as the API shows it. */
export type EngineView = z.output<typeof ENGINE>;

const engineBody = (engine: EngineOnWorker): EngineView => ({
  endpoint_id: engine.endpoint,
  version: engine.version,
  worker: engine.worker,
  device: engine.device,
  state: engine.ageMs > LIMITS.engineReportSilenceMs ? "lost" : engine.state,
  drained: engine.drained,
  polled: engine.polled,
  pid: engine.pid ?? null,
  memory_mib: engine.memoryMiB ?? null,
  budget_mib: engine.budgetMiB,
  running: engine.running,
  waiting: engine.waiting,
  failures: engine.failures,
  last_failure: engine.lastFailure ?? null,
  reported_seconds_ago: Math.round(engine.ageMs / 100) / 10,
});

const NAME = z.string().min(1, "Input should be a valid string");
const SELECTION = z.strictObject({ endpoint_id: NAME, version: NAME.nullish(), worker: NAME.nullish() });
const REQUESTED = z.object({
  requested: z.array(z.object({ endpoint_id: z.string(), worker: z.string(), version: z.string() })),
});

/** The workers and versions that a reset, a drain or a resume was requested of. */
export type RequestedView = z.output<typeof REQUESTED>;

type Selection = { endpoint: string; version?: string; worker?: string };

/** Adds the routes of engines: the model versions on the GPU workers. */
export function addEngineRoutes(addRoute: AddRoute, { engines }: Pick<ApiDependencies, "engines">): void {
  addRoute(
    {
      method: "get",
      path: "/v1/engines",
      summary: "Lists every model version on every GPU worker.",
      scope: "ADMIN",
      response: z.object({ engines: z.array(ENGINE), ...PAGE_FIELDS }),
    },
    async () => ({ engines: (await engines.list()).map(engineBody), ...SINGLE_PAGE }),
  );

  const actions = {
    reset: {
      summary: "Asks workers to serve an unhealthy model again. Each does so within moments.",
      request: (selection: Selection) => engines.requestReset(selection),
    },
    drain: {
      summary:
        "Asks workers to take no new requests of a model. Requests that run have a grace period; " +
        "afterwards other workers continue them.",
      request: (selection: Selection) => engines.drain(selection, true),
    },
    resume: {
      summary: "Asks workers to take requests of a drained model again.",
      request: (selection: Selection) => engines.drain(selection, false),
    },
  };
  for (const [action, { summary, request }] of Object.entries(actions)) {
    addRoute(
      {
        method: "post",
        path: `/v1/engines/${action}`,
        summary,
        scope: "ADMIN",
        body: SELECTION,
        audit: `engines.${action}`,
        status: 202,
        response: REQUESTED,
        errors: ["engine_unknown"],
      },
      async ({ body: { endpoint_id: endpoint, version, worker }, change }) =>
        change({ subject: endpoint }, async () => {
          const found = await request({ endpoint, ...(version && { version }), ...(worker && { worker }) });
          if (found.length === 0) throw new TemperaError("engine_unknown");
          const requested = found.map((each) => ({ endpoint_id: endpoint, ...each }));
          return { after: requested, result: { requested } };
        }),
    );
  }
}
