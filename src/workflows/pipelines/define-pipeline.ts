/**
 * How a pipeline is written in TypeScript: what it is called, what goes in and comes out, which endpoints its
 * nodes call, and what it does with them. Imports nothing of Temporal, so that the registry can be told of
 * pipelines without their workflow code.
 */
import type { ErrorInfo } from "../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { JsonSchema } from "../../core/models/model.ts";
import type { EndpointTypes } from "./endpoint-types.ts";

/** A JSON Schema of which TypeScript knows the type that it describes. */
export type SchemaOf<T> = JsonSchema & { readonly describes?: T };

export type InputOf<E extends string> = E extends keyof EndpointTypes
  ? EndpointTypes[E]["input"]
  : JsonObject;
export type OutputOf<E extends string> = E extends keyof EndpointTypes
  ? EndpointTypes[E]["output"]
  : JsonObject;

export interface RunOptions {
  /**
   * The node's name within its pipeline, where it must be the only one of it. By default made of the endpoint
   * and a number.
   */
  node?: string;
}

/**
 * Calls an endpoint as a node: the same inference step that a job uses, with its retries, checkpoints,
 * priority and cancel.
 *
 * Resolves to its output. Rejects when the node has failed for good (`failedNode` says how) or the pipeline
 * was cancelled.
 */
export type RunNode<C extends string = string> = <E extends C>(
  endpoint: E,
  input: InputOf<E>,
  options?: RunOptions,
) => Promise<OutputOf<E>>;

/** What a pipeline is given to work with. */
export interface PipelineContext<I = JsonObject, C extends string = string> {
  /** Checked, its defaults applied. */
  input: I;
  run: RunNode<C>;
  /**
   * Waits for several nodes that run side by side; rejects as soon as one of them fails. The others run on,
   * until they are done or the pipeline ends.
   */
  all<T extends readonly unknown[]>(work: readonly [...{ [K in keyof T]: PromiseLike<T[K]> }]): Promise<T>;
  all<T>(work: readonly PromiseLike<T>[]): Promise<T[]>;
}

/**
 * What a pipeline does. It is replayed, so it must do the same each time: no clock, no randomness and no I/O
 * but through `run`; `Date` and `Math.random` are safe, since Temporal replaces them.
 */
export type PipelineWork<I = JsonObject, O = JsonObject, C extends string = string> = (
  context: PipelineContext<I, C>,
) => Promise<O>;

export interface PipelineDefinition<I = JsonObject, O = JsonObject, C extends string = string> {
  /** The endpoint it answers: `owner/alias`. */
  id: string;
  /** `1.2.3`. A change that runs of today could not be replayed with is a new version beside the old one. */
  version: string;
  title: string;
  description: string;
  /** As fal names what a model does: `text-to-video`. */
  category: string;
  schemas: { input: SchemaOf<I>; output: SchemaOf<O> };
  /** Every endpoint that it may call. */
  calls: readonly C[];
  work: PipelineWork<I, O, C>;
}

/** As the table holds them, whatever they take and give. */
// biome-ignore lint/suspicious/noExplicitAny: definitions of different inputs have no common type that could be called.
export type AnyPipeline = PipelineDefinition<any, any, any>;

/**
 * Defines a pipeline; its line in `pipelines/index.ts` makes it callable.
 *
 * @example
 * export const echoTwice = definePipeline(
 *   { id: "tempera/echo-twice", version: "1.0.0", input, output, calls: ["tempera/stub"], title: "Echo twice" },
 *   async ({ run, input }) => {
 *     const first = await run("tempera/stub", { prompt: input.prompt }, { node: "first" });
 *     return run("tempera/stub", { payload: first.echo }, { node: "second" });
 *   },
 * );
 */
export function definePipeline<I, O, const C extends string>(
  about: {
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
  const { id, version, input, output, calls, title = id, description = "", category = "pipeline" } = about;
  return { id, version, title, description, category, schemas: { input, output }, calls, work };
}

/**
 * The node whose failure `error` is, and how it failed; `undefined` for everything else, a cancel of the
 * pipeline included.
 *
 * @public for whoever writes a pipeline
 */
export function failedNode(error: unknown): { node: string; error: ErrorInfo } | undefined {
  const details = (error as { details?: unknown[] } | null | undefined)?.details;
  const told = details?.[0] as { node?: unknown; error?: ErrorInfo } | undefined;
  return typeof told?.node === "string" && told.error ? { node: told.node, error: told.error } : undefined;
}
