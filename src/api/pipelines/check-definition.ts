import { EXECUTE } from "../../core/models/endpoint.ts";
import { type InputFault, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import type { CompiledGraph, GraphDraft, Location } from "../../core/pipelines/parsed-graph.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { resolveCallees } from "../../registry/resolve-endpoints.ts";
import { type Callable, createCompileGraph } from "../../registry/compile-graph.ts";
import { graphPipeline } from "../../registry/graph-pipeline.ts";
import type { FindPipeline, Registry } from "../../registry/registry.ts";

/** Whose definition it is, what it is called, and where it stands in the body. */
interface Definition {
  ownerId: string;
  endpoint: string;
  loc: Location;
}

export type CheckDefinition = (draft: GraphDraft, definition: Definition) => Promise<CompiledGraph>;

/**
 * Checks a definition whole, before it is saved or run: against what it calls, and what that calls in turn.
 *
 * Throws `input_invalid` with all its faults; rejects with `store_unavailable` when a saved pipeline cannot
 * be looked up.
 */
export function createCheckDefinition({
  registry,
  findPipeline,
}: {
  registry: Pick<Registry, "route">;
  findPipeline: FindPipeline;
}): CheckDefinition {
  const compileGraph = createCompileGraph();

  return async (draft, { ownerId, endpoint: self, loc }) => {
    const endpoints = new Set(draft.nodes.flatMap(({ endpoint }) => endpoint ?? []));
    const callables = new Map<string, Callable | { fault: string }>();
    for (const endpoint of endpoints) callables.set(endpoint, await callable(endpoint));
    const compiled = compileGraph(
      draft,
      (endpoint) => callables.get(endpoint) ?? { fault: notServed(endpoint) },
    );
    if ("faults" in compiled) throw definitionError(compiled.faults);
    await checkDepth(compiled);
    return compiled;

    async function callable(endpoint: string): Promise<Callable | { fault: string }> {
      if (endpoint === self) return { fault: "the workflow calls itself" };
      if (endpoint === EXECUTE)
        return { fault: `'${EXECUTE}' cannot be a node: save its workflow and call that` };
      const route = registry.route(endpoint) ?? (await findPipeline(endpoint, ownerId));
      return route ? (route.model ?? route.pipeline).schemas : { fault: notServed(endpoint) };
    }

    /** What it calls may be pipelines, which call others. */
    async function checkDepth(graph: CompiledGraph): Promise<void> {
      const pipeline = graphPipeline(graph, { endpoint: self, title: "", description: "" });
      try {
        await resolveCallees(pipeline, { registry, findPipeline, ownerId });
      } catch (error) {
        if (!isTemperaError(error) || error.code === "store_unavailable") throw error;
        throw definitionError([
          { loc, msg: `Value error, ${error.message.replace(/\.$/, "")}`, type: "value_error" },
        ]);
      }
    }
  };
}

const notServed = (endpoint: string): string =>
  `there is no endpoint '${endpoint.slice(0, 120)}' that you could call`;

/** Every fault is in the sentence too: not every answer has room for a list. Of very many, the first. */
export function definitionError(all: InputFault[]): TemperaError {
  const faults = all.slice(0, LIMITS.inputFaultsMax);
  const sentence = faults
    .map(
      ({ loc, msg }) =>
        `${loc.slice(1).join(".").slice(0, 300) || "body"}: ${msg.replace("Value error, ", "")}`,
    )
    .join("; ");
  const more = all.length > faults.length ? `; and ${all.length - faults.length} more` : "";
  return new TemperaError("input_invalid", sentence + more, { faults });
}

/** A definition travels with each of its runs. Throws `input_invalid`. */
export function refuseTooLarge(definition: Json, loc: Location): void {
  const bytes = Buffer.byteLength(JSON.stringify(definition));
  if (bytes <= LIMITS.pipelinePlanBytesMax) return;
  const [has, most] = [bytes, LIMITS.pipelinePlanBytesMax].map((count) => count.toLocaleString("en-US"));
  const msg = `Value error, the workflow has ${has} bytes of JSON; at most ${most} are taken`;
  throw definitionError([{ loc, msg, type: "value_error" }]);
}
