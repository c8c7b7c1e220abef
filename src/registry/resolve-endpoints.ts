import { TemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../core/models/model.ts";
import type { Callee, PipelineVersion } from "../core/pipelines/pipeline.ts";
import type { FindPipeline, Registry, Route } from "./registry.ts";

/** What finds what a pipeline calls. */
export interface CalleeSources {
  registry: Pick<Registry, "route">;
  /** Pipelines that are saved, which this owner may call. */
  findPipeline: FindPipeline;
  ownerId: string;
}

const modelCallee = (model: ModelVersion): Callee => ({
  kind: "model",
  endpoint: model.endpoint,
  version: model.version,
  digest: model.digest,
  taskQueue: taskQueueOf(model),
  ...(model.price && { price: model.price }),
  retry: model.retry,
  timeouts: { heartbeatMs: model.timeouts.heartbeatMs, runMs: model.timeouts.runMs },
});

const pipelineCallee = ({ endpoint, version, digest, plan, schemas }: PipelineVersion): Callee => ({
  kind: "pipeline",
  endpoint,
  version,
  digest,
  plan,
  input: schemas.input,
});

/**
 * Everything that a pipeline may call, at its version of this moment, and what those pipelines may call in
 * turn, by endpoint.
 *
 * Throws `endpoint_unknown` when one is not there or not this owner's to call, and `pipeline_limit` when
 * graphs call one another without end, are nested too deep, or have too many nodes together.
 */
export async function resolveCallees(
  pipeline: PipelineVersion,
  sources: CalleeSources,
): Promise<Record<string, Callee>> {
  const callees: Record<string, Callee> = {};
  const called = new Map<string, PipelineVersion>([[pipeline.endpoint, pipeline]]);
  const waiting = [pipeline];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    for (const endpoint of next.calls) {
      if (Object.hasOwn(callees, endpoint)) continue;
      if (Object.keys(callees).length >= LIMITS.pipelineNodesMax) {
        throw new TemperaError(
          "pipeline_limit",
          `${pipeline.endpoint} may call more than ${LIMITS.pipelineNodesMax} endpoints.`,
        );
      }
      const route = await find(endpoint, sources);
      if (!route)
        throw new TemperaError(
          "endpoint_unknown",
          `${next.endpoint} calls ${endpoint}, which is not served here.`,
        );
      if (route.model) callees[endpoint] = modelCallee(route.model);
      else {
        callees[endpoint] = pipelineCallee(route.pipeline);
        called.set(endpoint, route.pipeline);
        waiting.push(route.pipeline);
      }
    }
  }
  const { nodes, height } = measure(pipeline, called, [], new Map());
  if (height > LIMITS.pipelineDepthMax) {
    throw new TemperaError(
      "pipeline_limit",
      `${pipeline.endpoint} nests pipelines ${height} deep; at most ${LIMITS.pipelineDepthMax} are run.`,
    );
  }
  if (nodes > LIMITS.pipelineNodesMax) {
    throw new TemperaError(
      "pipeline_limit",
      `${pipeline.endpoint} has ${nodes} nodes, those of the pipelines it calls included; at most ${LIMITS.pipelineNodesMax} are run.`,
    );
  }
  return callees;
}

async function find(
  endpoint: string,
  { registry, findPipeline, ownerId }: CalleeSources,
): Promise<Route | undefined> {
  return registry.route(endpoint) ?? (await findPipeline(endpoint, ownerId));
}

interface Size {
  nodes: number;
  /** Pipelines within one another, this one included. */
  height: number;
}

/**
 * The size of a graph and of the graphs that it calls. What code calls is only known when it runs, and
 * counted then.
 */
function measure(
  pipeline: PipelineVersion,
  called: Map<string, PipelineVersion>,
  around: readonly string[],
  known: Map<string, Size>,
): Size {
  if (!("graph" in pipeline.plan)) return { nodes: 0, height: 1 };
  const before = known.get(pipeline.endpoint);
  if (before) return before;
  const inside = [...around, pipeline.endpoint];
  if (around.includes(pipeline.endpoint)) {
    throw new TemperaError(
      "pipeline_limit",
      `Pipelines call one another without end: ${inside.join(" → ")}.`,
    );
  }
  const size: Size = { nodes: pipeline.plan.graph.nodes.length, height: 1 };
  for (const { endpoint } of pipeline.plan.graph.nodes) {
    const callee = called.get(endpoint);
    if (!callee) continue;
    const inner = measure(callee, called, inside, known);
    // A number that stays one, however the sizes multiply.
    size.nodes = Math.min(1e9, size.nodes + inner.nodes);
    size.height = Math.max(size.height, inner.height + 1);
  }
  known.set(pipeline.endpoint, size);
  return size;
}
