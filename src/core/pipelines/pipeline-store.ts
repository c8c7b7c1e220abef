import type { JsonObject } from "../json/json.ts";
import type { CompiledGraph } from "./parsed-graph.ts";
import type { PipelineMetadata, PipelineName, PipelineSummary, SavedPipeline } from "./saved-pipeline.ts";

/** The definition of a saved pipeline, as written and compiled. */
export interface PipelineContents {
  contents: JsonObject;
  compiled: CompiledGraph;
}

export interface PipelineQuery {
  ownerId: string;
  /** Text in the name, the title or the description; case-insensitive, at least for A to Z. */
  search?: string;
  /** Selects pipelines that call one of these endpoints. */
  calls?: string[];
  limit: number;
  offset: number;
}

/**
 * Stores the saved pipelines. Every method rejects with `store_unavailable` when PostgreSQL cannot be
 * reached.
 */
export interface PipelineStore {
  /**
   * Creates a pipeline. `taken`: the owner has one with this name; `full`: the owner has `ownedMax`
   * pipelines. A removed pipeline's name continues its version numbers.
   */
  create(
    pipeline: PipelineName & PipelineMetadata & PipelineContents,
    atMs: number,
    ownedMax: number,
  ): Promise<SavedPipeline | "taken" | "full">;
  /** Changes the given parts; `contents` make a new version. Returns `undefined` when there is none. */
  update(
    name: PipelineName,
    change: { metadata?: Partial<PipelineMetadata>; contents?: PipelineContents },
    atMs: number,
  ): Promise<SavedPipeline | undefined>;
  /** Removes a pipeline from view; its versions stay. False when there is none. */
  remove(name: PipelineName, atMs: number): Promise<boolean>;
  /** Finds the newest version, or the given one. */
  find(name: PipelineName, version?: number): Promise<SavedPipeline | undefined>;
  /** Lists pipelines, newest first, with the total number of all pages. */
  list(query: PipelineQuery): Promise<{ items: PipelineSummary[]; total: number }>;
  /**
   * Calls `listener` with the name of each pipeline that changes, as soon as the database announces it.
   * Returns how to stop.
   */
  onChange(listener: (name: PipelineName) => void): Promise<() => Promise<void>>;
}
