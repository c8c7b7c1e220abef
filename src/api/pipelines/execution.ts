/** `workflows/execute`: a pipeline that comes with the call (contract §11.1). */

import type { Json } from "../../core/json/json.ts";
import { EXECUTE } from "../../core/models/endpoint.ts";
import { readExecution } from "../../fal/workflow-definition.ts";
import { graphPipeline } from "../../registry/graph-pipeline.ts";
import { type PipelineRoute, pipelineRoute } from "../../registry/registry.ts";
import type { Caller } from "../auth/key-ring.ts";
import { type CheckDefinition, definitionError, refuseTooLarge } from "./check-definition.ts";

/** The route of a call before its body is read. */
export const EXECUTION: PipelineRoute = pipelineRoute(
  graphPipeline(
    {
      graph: { nodes: [], output: {} },
      schemas: { input: { type: "object", additionalProperties: true }, output: { type: "object" } },
      calls: [],
    },
    { endpoint: EXECUTE, title: "Workflow", description: "Runs a workflow that comes with the call." },
  ),
);

/**
 * Makes the pipeline of a body `{input, workflow}`, and its input, with which the definition was checked.
 * Rejects with `input_invalid` with every fault of either.
 */
export async function openExecution(
  checkDefinition: CheckDefinition,
  { ownerId }: Pick<Caller, "ownerId">,
  body: Json,
): Promise<{ route: PipelineRoute; raw: Json }> {
  // First, because neither may have text that no store accepts.
  const usable = await EXECUTION.checkInput(body);
  const read = "faults" in usable ? usable : readExecution(usable.input);
  if ("faults" in read) throw definitionError(read.faults);
  const loc = ["body", "workflow"];
  refuseTooLarge([...read.parsed.nodes.map(({ value }) => value), read.parsed.output], loc);
  const compiled = await checkDefinition(read.parsed, { ownerId, endpoint: EXECUTE, loc });
  const { title, description } = EXECUTION.pipeline;
  const pipeline = graphPipeline(compiled, { endpoint: EXECUTE, title, description });
  // The definition was checked with these very fields, so the input needs no further check.
  return { route: { pipeline, checkInput: () => ({ input: read.input, ignored: [] }) }, raw: read.input };
}
