import { TemperaError } from "../core/errors/tempera-error.ts";
import { LIMITS } from "../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../core/models/model.ts";
import type { CallTarget, PipelineVersion } from "../core/pipelines/pipeline.ts";
import type { FindPipeline, Registry, Route } from "./registry.ts";

/** Finds the models and pipelines that a pipeline may call. */
export interface CallTargetSources {
  registry: Pick<Registry, "route">;
  /** Finds a saved pipeline that `ownerId` may call. */
  findPipeline: FindPipeline;
  ownerId: string;
}

const modelTarget = (model: ModelVersion): CallTarget => ({
  kind: "model",
  endpoint: model.endpoint,
  version: model.version,
  digest: model.digest,
  taskQueue: taskQueueOf(model),
  ...(model.price && { price: model.price }),
  retry: model.retry,
  timeouts: { heartbeatMs: model.timeouts.heartbeatMs, runMs: model.timeouts.runMs },
});

const pipelineTarget = ({ endpoint, version, digest, plan, schemas }: PipelineVersion): CallTarget => ({
  kind: "pipeline",
  endpoint,
  version,
  digest,
  plan,
  input: schemas.input,
});

/**
 * Resolves every endpoint that a pipeline may call, and those that its pipelines may call in turn, to the
 * version that serves it now. The result is by endpoint.
 *
 * Throws `endpoint_unknown` when an endpoint does not exist or this owner may not call it, and
 * `pipeline_limit` when graphs call one another without end, are nested too deep, or have too many nodes
 * together.
 */
export async function resolveCallTargets(
  pipeline: PipelineVersion,
  sources: CallTargetSources,
): Promise<Record<string, CallTarget>> {
  const targets: Record<string, CallTarget> = {};
  const called = new Map<string, PipelineVersion>([[pipeline.endpoint, pipeline]]);
  const waiting = [pipeline];
  for (let next = waiting.pop(); next; next = waiting.pop()) {
    for (const endpoint of next.calls) {
      if (Object.hasOwn(targets, endpoint)) continue;
      if (Object.keys(targets).length >= LIMITS.pipelineNodesMax) {
        throw new TemperaError(
          "pipeline_limit",
          `${pipeline.endpoint} calls more than ${LIMITS.pipelineNodesMax} endpoints, which is the limit.`,
        );
      }
      const route = await find(endpoint, sources);
      if (!route)
        throw new TemperaError(
          "endpoint_unknown",
          `${next.endpoint} calls ${endpoint}, which is not served here.`,
        );
      if (route.model) targets[endpoint] = modelTarget(route.model);
      else {
        targets[endpoint] = pipelineTarget(route.pipeline);
        called.set(endpoint, route.pipeline);
        waiting.push(route.pipeline);
      }
    }
  }
  const { nodes, height } = measure(pipeline, called, [], new Map());
  if (height > LIMITS.pipelineDepthMax) {
    throw new TemperaError(
      "pipeline_limit",
      `${pipeline.endpoint} nests pipelines ${height} deep; the limit is ${LIMITS.pipelineDepthMax}.`,
    );
  }
  if (nodes > LIMITS.pipelineNodesMax) {
    throw new TemperaError(
      "pipeline_limit",
      `${pipeline.endpoint} has ${nodes} nodes, with those of the pipelines it calls; ` +
        `the limit is ${LIMITS.pipelineNodesMax}.`,
    );
  }
  return targets;
}

async function find(
  endpoint: string,
  { registry, findPipeline, ownerId }: CallTargetSources,
): Promise<Route | undefined> {
  return registry.route(endpoint) ?? (await findPipeline(endpoint, ownerId));
}

interface Size {
  nodes: number;
  /** Levels of pipelines that call one another, this one included. */
  height: number;
}

/**
 * Measures a graph and the graphs that it calls. The calls of code are only known when it runs, and are
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
    const target = called.get(endpoint);
    if (!target) continue;
    const inner = measure(target, called, inside, known);
    // Bounded, because the sizes multiply with each level.
    size.nodes = Math.min(1e9, size.nodes + inner.nodes);
    size.height = Math.max(size.height, inner.height + 1);
  }
  known.set(pipeline.endpoint, size);
  return size;
}
