/**
 * Defines pipelines in TypeScript: id, schemas, the endpoints that the nodes call, and the code that calls
 * them. This module imports nothing of Temporal, so that the registry can load the definitions outside of
 * workflows.
 */
import type { ErrorInfo } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import type { EndpointTypes } from "./endpoint-types.ts";

/** A JSON Schema together with the TypeScript type of the values that it describes. */
export type SchemaOf<T> = JsonSchema & { readonly describes?: T };

export type InputOf<E extends string> = E extends keyof EndpointTypes
  ? EndpointTypes[E]["input"]
  : JsonObject;
export type OutputOf<E extends string> = E extends keyof EndpointTypes
  ? EndpointTypes[E]["output"]
  : JsonObject;

export interface RunOptions {
  /**
   * The node's name, unique within its pipeline.
   *
   * @default made of the endpoint and a number
   */
  node?: string;
}

/**
 * Calls an endpoint as a node: the same inference step as a job's, with its retries, checkpoints, priority
 * and cancel.
 *
 * Resolves to the node's output. Rejects when the node failed finally (`failedNode` returns how) or the
 * pipeline was cancelled.
 */
export type RunNode<C extends string = string> = <E extends C>(
  endpoint: E,
  input: InputOf<E>,
  options?: RunOptions,
) => Promise<OutputOf<E>>;

/** The argument of a pipeline's code. */
export interface PipelineContext<I = JsonObject, C extends string = string> {
  /** The input, checked and with its defaults applied. */
  input: I;
  run: RunNode<C>;
  /**
   * Waits for several nodes that run in parallel. Rejects as soon as one of them fails; the others run on
   * until they end or the pipeline does.
   */
  all<T extends readonly unknown[]>(work: readonly [...{ [K in keyof T]: PromiseLike<T[K]> }]): Promise<T>;
  all<T>(work: readonly PromiseLike<T>[]): Promise<T[]>;
}

/**
 * The code of a pipeline. Temporal replays it, so it must make the same decisions each time: no clock, no
 * randomness and no I/O except through `run`. `Date` and `Math.random` are safe, since Temporal replaces
 * them.
 */
export type PipelineWork<I = JsonObject, O = JsonObject, C extends string = string> = (
  context: PipelineContext<I, C>,
) => Promise<O>;

export interface PipelineDefinition<I = JsonObject, O = JsonObject, C extends string = string> {
  /** The endpoint under which it is called: `owner/alias`. */
  id: string;
  /**
   * `1.2.3`. A change that would break the replay of running pipelines needs a new version beside this one.
   */
  version: string;
  title: string;
  description: string;
  /** fal's category: `text-to-video`. */
  category: string;
  schemas: { input: SchemaOf<I>; output: SchemaOf<O> };
  /** The endpoints that it may call. */
  calls: readonly C[];
  work: PipelineWork<I, O, C>;
}

/** A definition in the table of pipelines, of any input and output. */
// biome-ignore lint/suspicious/noExplicitAny: definitions with different inputs have no common callable type.
export type AnyPipeline = PipelineDefinition<any, any, any>;

/**
 * Defines a pipeline; its line in `pipelines/index.ts` makes it callable.
 *
 * @example
 * export const echoTwice = definePipeline(
 *   { id: "tempera/echo-twice", version: "1.0.0", input, output, calls: ["tempera/stub"] },
 *   async ({ run, input }) => {
 *     const first = await run("tempera/stub", { prompt: input.prompt }, { node: "first" });
 *     return run("tempera/stub", { payload: first.echo }, { node: "second" });
 *   },
 * );
 */
export function definePipeline<I, O, const C extends string>(
  options: {
    id: string;
    version: string;
    input: SchemaOf<I>;
    output: SchemaOf<O>;
    calls: readonly C[];
    title?: string;
    description?: string;
    category?: string;
  },
  work: PipelineWork<I, O, C>,
): PipelineDefinition<I, O, C> {
  const { id, version, input, output, calls, title = id, description = "", category = "pipeline" } = options;
  return { id, version, title, description, category, schemas: { input, output }, calls, work };
}

/**
 * Returns the node whose failure `error` is, and the node's error. Returns `undefined` for every other error,
 * also when the pipeline was cancelled.
 *
 * @public for authors of pipelines
 */
export function failedNode(error: unknown): { node: string; error: ErrorInfo } | undefined {
  const details = (error as { details?: unknown[] } | null | undefined)?.details;
  const detail = details?.[0] as { node?: unknown; error?: ErrorInfo } | undefined;
  return typeof detail?.node === "string" && detail.error
    ? { node: detail.node, error: detail.error }
    : undefined;
}
