/** `workflows/execute`: a pipeline that comes with the call (contract §11.1). */
import { EXECUTE } from "../../core/models/endpoint.ts";
import type { Json } from "../../core/json/json.ts";
import { readExecution } from "../../fal/workflow-definition.ts";
import { graphPipeline } from "../../registry/graph-pipeline.ts";
import { type PipelineRoute, pipelineRoute } from "../../registry/registry.ts";
import type { Caller } from "../auth/key-ring.ts";
import { type CheckDefinition, definitionError, refuseTooLarge } from "./check-definition.ts";

/** Where a call of it goes as long as its body is not read. */
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
 * The pipeline of a body `{input, workflow}`, and the input for it, which its definition was checked with.
 * Throws `input_invalid` with all that is wrong with either.
 */
export async function openExecution(
  checkDefinition: CheckDefinition,
  { ownerId }: Pick<Caller, "ownerId">,
  body: Json,
): Promise<{ route: PipelineRoute; raw: Json }> {
  // What no store can hold is in neither.
  const usable = EXECUTION.checkInput(body);
  const read = "faults" in usable ? usable : readExecution(usable.input);
  if ("faults" in read) throw definitionError(read.faults);
  const loc = ["body", "workflow"];
  refuseTooLarge([...read.draft.nodes.map(({ value }) => value), read.draft.output], loc);
  const compiled = await checkDefinition(read.draft, { ownerId, endpoint: EXECUTE, loc });
  const { title, description } = EXECUTION.pipeline;
  const pipeline = graphPipeline(compiled, { endpoint: EXECUTE, title, description });
  // Every field of the input is one that the definition was checked with, so nothing is left to check or to
  // set aside.
  return { route: { pipeline, checkInput: () => ({ input: read.input, ignored: [] }) }, raw: read.input };
}
