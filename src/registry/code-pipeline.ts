import { createHash } from "node:crypto";
import type { PipelineVersion } from "../core/pipelines/pipeline.ts";

/** What is known of a pipeline that is written in TypeScript, without its code. */
interface CodePipeline
  extends Pick<PipelineVersion, "version" | "title" | "description" | "category" | "schemas"> {
  id: string;
  calls: readonly string[];
}

/**
 * The version that a definition of the table makes. Its digest is that of its name: what a version does never
 * changes.
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
    .update(JSON.stringify([code, schemas, calls]))
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
