import type { ObjectStore } from "../../core/files/object-store.ts";
import { retrieve } from "../../core/files/stored-value.ts";
import type { JsonObject, Stored } from "../../core/json/json.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Registry } from "../../registry/registry.ts";
import { createSchemaCheck, type SchemaCheck } from "../../registry/schema-check.ts";

/**
 * Checks the output of a pipeline that comes with the program against the output schema that the pipeline
 * declares. Resolves with the fault in a sentence; `undefined` when the output fits, when it cannot be read,
 * and for models and graphs: the schema of a graph's output is derived from its sources.
 */
export type CheckOutput = (
  job: Pick<JobSpec, "endpoint" | "version" | "pipeline">,
  output: Stored<JsonObject>,
) => Promise<string | undefined>;

/** Creates the check. Each schema is compiled once. */
export function createCheckOutput({
  registry,
  objects,
}: {
  registry: Pick<Registry, "pipelines">;
  objects: Pick<ObjectStore, "get">;
}): CheckOutput {
  const checks = new Map<string, SchemaCheck>();
  return async ({ endpoint, version, pipeline }, output) => {
    if (!pipeline) return undefined;
    const definition = registry
      .pipelines()
      .find((each) => each.endpoint === endpoint && each.version === version);
    if (!definition) return undefined;
    const value = await retrieve(objects, output).catch(() => undefined);
    if (value === undefined) return undefined;
    const check =
      checks.get(definition.digest) ?? createSchemaCheck(definition.schemas.output, { every: false });
    checks.set(definition.digest, check);
    // The check fills in defaults, and the output must stay as the pipeline made it.
    const [fault] = check(structuredClone(value)) ?? [];
    if (!fault) return undefined;
    const path = ["output", ...fault.loc.slice(1)].join(".");
    return `The output of ${endpoint} ${version} does not fit its own schema: ${path}: ${fault.msg}`;
  };
}
