import { createHash } from "node:crypto";
import type { CompiledGraph } from "../core/pipelines/parsed-graph.ts";
import type { PipelineVersion } from "../core/pipelines/pipeline.ts";

/** What a graph is called, and whose it is. */
interface Named extends Pick<PipelineVersion, "endpoint" | "title" | "description" | "ownerId"> {
  /** By default made of the digest: what comes with a call has no versions. */
  version?: string;
}

/** The pipeline that a compiled graph is. Its digest covers what it does and what it takes. */
export function graphPipeline(
  { graph, schemas, calls }: CompiledGraph,
  { version, ...named }: Named,
): PipelineVersion {
  const digest = createHash("sha256")
    .update(JSON.stringify([graph, schemas.input]))
    .digest("hex");
  return {
    ...named,
    version: version ?? digest.slice(0, 12),
    digest,
    category: "workflow",
    schemas,
    calls,
    plan: { graph },
  };
}
