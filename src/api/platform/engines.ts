import type { Context } from "hono";
import type { EngineOnWorker } from "../../core/engine-status.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { answerJson } from "../answer-json.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { readJsonBody } from "../read-body.ts";

const engineBody = (engine: EngineOnWorker) => ({
  endpoint_id: engine.endpoint,
  version: engine.version,
  worker: engine.worker,
  device: engine.device,
  state: engine.ageMs > LIMITS.engineReportSilenceMs ? "lost" : engine.state,
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

/**
 * `GET /v1/engines` → every model version on every GPU worker: `stopped`, `loading`, `ready`, `out` of rotation with the reason, or
 * `lost` with a worker that says nothing any more.
 */
export const createEnginesList =
  ({ engines }: Pick<ApiDependencies, "engines">) =>
  async (c: Context): Promise<Response> =>
    answerJson(c, { engines: (await engines.list()).map(engineBody), next_cursor: null, has_more: false });

/**
 * `POST /v1/engines/reset {endpoint_id, version?, worker?}` → 202 with the workers that were asked to put the model back into rotation;
 * each does so within moments. 404 `engine_unknown` when no living worker has it.
 */
export const createEnginesReset =
  ({ engines }: Pick<ApiDependencies, "engines">) =>
  async (c: Context): Promise<Response> => {
    const body = await readJsonBody(c, 64 * 1024);
    const fields = (typeof body === "object" && body !== null && !Array.isArray(body) ? body : {}) as JsonObject;
    const endpoint = textOf(fields, "endpoint_id");
    if (endpoint === undefined) {
      const faults = [{ loc: ["body", "endpoint_id"], msg: "Field required", type: "missing" }];
      throw new TemperaError("input_invalid", "endpoint_id: Field required", { faults });
    }
    const version = textOf(fields, "version");
    const worker = textOf(fields, "worker");
    const asked = await engines.askReset({ endpoint, ...(version !== undefined && { version }), ...(worker !== undefined && { worker }) });
    if (asked.length === 0) throw new TemperaError("engine_unknown");
    return answerJson(c, { asked: asked.map((each) => ({ endpoint_id: endpoint, ...each })) }, 202);
  };

function textOf(fields: JsonObject, name: string): string | undefined {
  const value = fields[name] ?? undefined;
  if (value === undefined || (typeof value === "string" && value !== "")) return value;
  const faults = [{ loc: ["body", name], msg: "Input should be a valid string", type: "string_type" }];
  throw new TemperaError("input_invalid", `${name}: Input should be a valid string`, { faults });
}
