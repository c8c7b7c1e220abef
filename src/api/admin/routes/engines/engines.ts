import { z } from "@hono/zod-openapi";
import type { EngineOnWorker } from "../../../../core/engines/engine-status.ts";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../../core/limits.ts";
import type { ApiDependencies } from "../../../dependencies.ts";
import { PAGE_ANSWER, WHOLE } from "../../http/page.ts";
import type { AddVerb } from "../../http/route.ts";

const ENGINE = z
  .object({
    endpoint_id: z.string(),
    version: z.string(),
    worker: z.string(),
    device: z.string(),
    state: z
      .enum(["stopped", "loading", "ready", "out", "lost"])
      .openapi({ description: "out: out of rotation; lost: its worker says nothing any more" }),
    drained: z
      .boolean()
      .openapi({ description: "An operator wants the worker to take no new requests of it." }),
    polled: z.boolean().openapi({ description: "Whether the worker takes requests of the model now." }),
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

const NAME = z.string().min(1, "Input should be a valid string");

const engineBody = (engine: EngineOnWorker): z.input<typeof ENGINE> => ({
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

type Which = { endpoint: string; version?: string; worker?: string };

/** The model versions on the GPU workers. */
export function addEngineVerbs(add: AddVerb, { engines }: Pick<ApiDependencies, "engines">): void {
  add(
    {
      method: "get",
      path: "/v1/engines",
      says: "Lists every model version on every GPU worker.",
      scope: "ADMIN",
      answer: z.object({ engines: z.array(ENGINE), ...PAGE_ANSWER }),
    },
    async () => ({ engines: (await engines.list()).map(engineBody), ...WHOLE }),
  );

  const which = z.strictObject({ endpoint_id: NAME, version: NAME.nullish(), worker: NAME.nullish() });
  const answer = z.object({
    asked: z.array(z.object({ endpoint_id: z.string(), worker: z.string(), version: z.string() })),
  });
  const verbs = {
    reset: {
      says: "Asks workers to put a model back into rotation; each does so within moments.",
      ask: (of: Which) => engines.askReset(of),
    },
    drain: {
      says: "Asks workers to take no new requests of a model; those in hand have the workers' time of grace, then others go on with them.",
      ask: (of: Which) => engines.drain(of, true),
    },
    resume: {
      says: "Asks workers to take requests of a drained model again.",
      ask: (of: Which) => engines.drain(of, false),
    },
  };
  for (const [verb, { says, ask }] of Object.entries(verbs)) {
    add(
      {
        method: "post",
        path: `/v1/engines/${verb}`,
        says,
        scope: "ADMIN",
        body: which,
        audit: `engines.${verb}`,
        status: 202,
        answer,
        errors: ["engine_unknown"],
      },
      async ({ body: { endpoint_id: endpoint, version, worker }, change }) =>
        change({ subject: endpoint }, async () => {
          const found = await ask({ endpoint, ...(version && { version }), ...(worker && { worker }) });
          if (found.length === 0) throw new TemperaError("engine_unknown");
          const asked = found.map((each) => ({ endpoint_id: endpoint, ...each }));
          return { after: asked, result: { asked } };
        }),
    );
  }
}
