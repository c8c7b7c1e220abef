import { createHash } from "node:crypto";
import { writeJson } from "../core/json/exact-json.ts";
import type { PipelineVersion } from "../core/pipelines/pipeline.ts";
import { createSchemaCheck } from "./schema-check.ts";

/** The description of a pipeline that is written in TypeScript, without its code. */
interface CodePipeline
  extends Pick<PipelineVersion, "version" | "title" | "description" | "category" | "schemas"> {
  id: string;
  calls: readonly string[];
}

/**
 * Makes the version of a pipeline from the table of definitions. Its digest covers its name and not its code:
 * a version's behaviour never changes. Throws when a schema cannot be compiled: a role then does not
 * start, where a request would fail.
 */
export function codePipeline({
  id,
  version,
  title,
  description,
  category,
  schemas,
  calls,
}: CodePipeline): PipelineVersion {
  const code = `${id}@${version}`;
  for (const [side, schema] of Object.entries(schemas)) {
    try {
      createSchemaCheck(schema, { every: false });
    } catch (error) {
      throw new Error(
        `The ${side} schema of the pipeline ${id} ${version} cannot be compiled ` +
          `(${(error as Error).message}); correct it where the pipeline is defined.`,
        { cause: error },
      );
    }
  }
  const digest = createHash("sha256")
    .update(writeJson([code, schemas, calls]))
    .digest("hex");
  return {
    endpoint: id,
    version,
    digest,
    title,
    description,
    category,
    schemas,
    calls: [...calls],
    plan: { code },
  };
}
