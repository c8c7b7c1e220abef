import { createHash } from "node:crypto";
import { writeJson } from "../core/json/exact-json.ts";
import type { CompiledGraph } from "../core/pipelines/parsed-graph.ts";
import type { PipelineVersion } from "../core/pipelines/pipeline.ts";

/** The name, the texts and the owner of a graph. */
interface Named extends Pick<PipelineVersion, "endpoint" | "title" | "description" | "ownerId"> {
  /** By default derived from the digest, for graphs that come with a call and have no versions. */
  version?: string;
}

/** Makes a pipeline of a compiled graph. Its digest covers the graph and its input schema. */
export function graphPipeline(
  { graph, schemas, calls }: CompiledGraph,
  { version, ...named }: Named,
): PipelineVersion {
  const digest = createHash("sha256")
    .update(writeJson([graph, schemas.input]))
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
