import type { JsonObject, Stored } from "../../core/json/json.ts";
import type { Log } from "../../core/operations/log.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { Registry } from "../../registry/registry.ts";
import { createSchemaCheck, type SchemaCheck } from "../../registry/schema-check.ts";

/**
 * Checks the output of a pipeline that comes with the program against the output schema that the pipeline
 * declares. Returns the fault in a sentence; `undefined` when the output fits, and for models and graphs: the
 * schema of a graph's output is derived from its sources.
 *
 * An output that is stored as an object is not checked: the object store must not delay the end of a request.
 * Never throws, because nothing ends a request whose finish step fails.
 */
export type CheckOutput = (
  job: Pick<JobSpec, "endpoint" | "version" | "pipeline">,
  output: Stored<JsonObject>,
) => string | undefined;

/** Creates the check. Each schema is compiled once. */
export function createCheckOutput({
  registry,
  log,
}: {
  registry: Pick<Registry, "pipelines">;
  log: Pick<Log, "warn">;
}): CheckOutput {
  const checks = new Map<string, SchemaCheck>();
  const faultOf: CheckOutput = ({ endpoint, version }, output) => {
    if (!("inline" in output)) return undefined;
    const definition = registry
      .pipelines()
      .find((each) => each.endpoint === endpoint && each.version === version);
    if (!definition) return undefined;
    const check =
      checks.get(definition.digest) ?? createSchemaCheck(definition.schemas.output, { every: false });
    checks.set(definition.digest, check);
    // The check fills in defaults, and the output must stay as the pipeline made it.
    const [fault] = check(structuredClone(output.inline)) ?? [];
    if (!fault) return undefined;
    const path = ["output", ...fault.loc.slice(1)].join(".");
    return `The output of ${endpoint} ${version} does not fit its own schema: ${path}: ${fault.msg}`;
  };
  return (job, output) => {
    if (!job.pipeline) return undefined;
    try {
      return faultOf(job, output);
    } catch (error) {
      const { endpoint, version } = job;
      log.warn({ endpoint, version, err: error }, "the output of a pipeline was not checked");
      return undefined;
    }
  };
}
