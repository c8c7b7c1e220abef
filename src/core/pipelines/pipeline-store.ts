import type { JsonObject } from "../json/json.ts";
import type { CompiledGraph } from "./parsed-graph.ts";
import type { PipelineMetadata, PipelineName, PipelineSummary, SavedPipeline } from "./saved-pipeline.ts";

/** What a pipeline does. */
export interface PipelineContents {
  contents: JsonObject;
  compiled: CompiledGraph;
}

export interface PipelineQuery {
  ownerId: string;
  /**
   * Text in the name, the title or the description; large and small letters as the database has them, A to Z
   * at least.
   */
  search?: string;
  /** Only those that call one of these. */
  calls?: string[];
  limit: number;
  offset: number;
}

/** The saved pipelines. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface PipelineStore {
  /**
   * `taken`: this owner has one of that name; `full`: this owner has `ownedMax`. One of a removed name goes
   * on with its versions.
   */
  create(
    pipeline: PipelineName & PipelineMetadata & PipelineContents,
    atMs: number,
    ownedMax: number,
  ): Promise<SavedPipeline | "taken" | "full">;
  /** Changes what is given; `contents` make a new version. `undefined`: there is none. */
  update(
    name: PipelineName,
    change: { metadata?: Partial<PipelineMetadata>; contents?: PipelineContents },
    atMs: number,
  ): Promise<SavedPipeline | undefined>;
  /** It is not found any more; its versions stay. False: there is none. */
  remove(name: PipelineName, atMs: number): Promise<boolean>;
  /** The newest version, or that one. */
  find(name: PipelineName, version?: number): Promise<SavedPipeline | undefined>;
  /** Newest first, and how many there are on all pages. */
  list(query: PipelineQuery): Promise<{ items: PipelineSummary[]; total: number }>;
  /**
   * Calls `listener` with the name of each that changes, as soon as the database says so. Returns how to
   * stop.
   */
  onChange(listener: (name: PipelineName) => void): Promise<() => Promise<void>>;
}
