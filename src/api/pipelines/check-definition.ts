import { isStoreFailure } from "../../core/errors/store-failure.ts";
import { type InputFault, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import type { Json } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import { EXECUTE } from "../../core/models/endpoint.ts";
import type { CompiledGraph, Location, ParsedGraph } from "../../core/pipelines/parsed-graph.ts";
import { type Callable, createCompileGraph } from "../../registry/compile-graph.ts";
import { graphPipeline } from "../../registry/graph-pipeline.ts";
import type { FindPipeline, Registry } from "../../registry/registry.ts";
import { resolveCallTargets } from "../../registry/resolve-call-targets.ts";
import type { SchemaThread } from "../../registry/schema-thread/schema-thread.ts";

/** The owner and the endpoint of a definition, and its location in the body. */
interface Definition {
  ownerId: string;
  endpoint: string;
  loc: Location;
}

export type CheckDefinition = (parsed: ParsedGraph, definition: Definition) => Promise<CompiledGraph>;

/**
 * Checks and compiles a definition before it is saved or run, against the endpoints that it calls and those
 * that they call in turn.
 *
 * Rejects with `input_invalid` with all faults, and with `store_unavailable` when a saved pipeline cannot be
 * looked up.
 */
export function createCheckDefinition({
  registry,
  findPipeline,
  schemaThread,
}: {
  registry: Pick<Registry, "route">;
  findPipeline: FindPipeline;
  schemaThread: SchemaThread;
}): CheckDefinition {
  const compileGraph = createCompileGraph(schemaThread);

  return async (parsed, { ownerId, endpoint: self, loc }) => {
    const endpoints = new Set(parsed.nodes.flatMap(({ endpoint }) => endpoint ?? []));
    const callables = new Map<string, Callable | { fault: string }>();
    for (const endpoint of endpoints) callables.set(endpoint, await callable(endpoint));
    const compiled = await compileGraph(
      parsed,
      (endpoint) => callables.get(endpoint) ?? { fault: notServed(endpoint) },
    );
    if ("faults" in compiled) throw definitionError(compiled.faults);
    const unusable = await schemaThread.faultOfInputSchema({ ownerId, schema: compiled.schemas.input });
    if (unusable) throw definitionError([{ ...unusable, loc }]);
    await checkDepth(compiled);
    return compiled;

    async function callable(endpoint: string): Promise<Callable | { fault: string }> {
      if (endpoint === self) return { fault: "the workflow calls itself" };
      if (endpoint === EXECUTE)
        return { fault: `'${EXECUTE}' cannot be a node: save its workflow and call that` };
      const route = registry.route(endpoint) ?? (await findPipeline(endpoint, ownerId));
      if (!route) return { fault: notServed(endpoint) };
      if (route.model) return route.model.schemas;
      return { ...route.pipeline.schemas, callerId: route.writtenBy && ownerId };
    }

    /** Resolves the endpoints that its pipelines call in turn. */
    async function checkDepth(graph: CompiledGraph): Promise<void> {
      const pipeline = graphPipeline(graph, { endpoint: self, title: "", description: "" });
      try {
        await resolveCallTargets(pipeline, { registry, findPipeline, ownerId });
      } catch (error) {
        if (!isTemperaError(error) || isStoreFailure(error)) throw error;
        throw definitionError([
          { loc, msg: `Value error, ${error.message.replace(/\.$/, "")}`, type: "value_error" },
        ]);
      }
    }
  };
}

const notServed = (endpoint: string): string =>
  `there is no endpoint '${endpoint.slice(0, 120)}' that you could call`;

/** Lists the faults, of very many the first, and repeats them in the message: not every answer has a list. */
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

/** Bounds the size of a definition, which is stored with each of its runs. Throws `input_invalid`. */
export function refuseTooLarge(definition: Json, loc: Location): void {
  const bytes = Buffer.byteLength(writeJson(definition));
  if (bytes <= LIMITS.pipelinePlanBytesMax) return;
  const [has, most] = [bytes, LIMITS.pipelinePlanBytesMax].map((count) => count.toLocaleString("en-US"));
  const msg = `Value error, the workflow has ${has} bytes of JSON; at most ${most} are accepted`;
  throw definitionError([{ loc, msg, type: "value_error" }]);
}
