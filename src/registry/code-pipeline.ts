import { createHash } from "node:crypto";
import { writeJson } from "../core/json/exact-json.ts";
import type { PipelineVersion } from "../core/pipelines/pipeline.ts";

/** The description of a pipeline that is written in TypeScript, without its code. */
interface CodePipeline
  extends Pick<PipelineVersion, "version" | "title" | "description" | "category" | "schemas"> {
  id: string;
  calls: readonly string[];
}

/**
 * Makes the version of a pipeline from the table of definitions. Its digest covers its name and not its code:
 * a version's behaviour never changes.
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
