/** Values of a pipeline: what is small travels inline, what is large lies in the object store until somebody looks into it. */
import { proxyActivities } from "@temporalio/workflow";
import type { PipelineActivities } from "../activities/index.ts";
import { ORCHESTRATOR_QUEUE } from "../core/job.ts";
import type { JsonObject, Stored } from "../core/json.ts";
import { LIMITS } from "../core/limits.ts";

/** Rare steps, so each is an activity that tries until the store is back. */
export const valueActivities = (summary: string): PipelineActivities =>
  proxyActivities<PipelineActivities>({
    taskQueue: ORCHESTRATOR_QUEUE,
    startToCloseTimeout: "60s",
    retry: { initialInterval: "500ms", backoffCoefficient: 1.5, maximumInterval: "10s" },
    summary,
  });

/** The value itself. Throws `pipeline_limit` when it is larger than `bytesMax`. */
export async function load<T>(stored: Stored<T>, what: string, bytesMax: number = LIMITS.pipelineValueBytesMax): Promise<T> {
  if ("inline" in stored) return stored.inline;
  return (await valueActivities(`read ${what}`).loadValue({ ref: stored.ref, bytesMax, what })) as T;
}

/** As it travels: `core/stored.ts` does the same where there is an object store at hand. */
export async function keep(value: JsonObject, key: string): Promise<Stored<JsonObject>> {
  const json = JSON.stringify(value);
  if (json.length * 3 <= LIMITS.inlineBytesMax || new TextEncoder().encode(json).length <= LIMITS.inlineBytesMax) return { inline: value };
  return valueActivities(`put away ${key}`).storeValue({ key, value });
}
