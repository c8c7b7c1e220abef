import { InvalidatedCache } from "../../core/concurrency/invalidated-cache.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { PipelineStore } from "../../core/pipelines/pipeline-store.ts";
import {
  type PipelineName,
  type SavedPipeline,
  savedEndpoint,
  savedName,
} from "../../core/pipelines/saved-pipeline.ts";
import { graphPipeline } from "../../registry/graph-pipeline.ts";
import { type FindPipeline, type PipelineRoute, savedPipelineRoute } from "../../registry/registry.ts";
import type { SchemaThread } from "../../registry/schema-thread/schema-thread.ts";

/** A saved pipeline with its route. */
interface Found {
  route: PipelineRoute;
  ownerId: string;
  isPublic: boolean;
}

interface PipelineSources {
  pipelines: Pick<PipelineStore, "find">;
  schemaThread: SchemaThread;
}

/** Reads the store at each call: definitions are checked against the pipelines that exist at that time. */
export function createFindPipeline(sources: PipelineSources): FindPipeline {
  return async (endpoint, ownerId) => {
    const name = savedName(endpoint);
    return visibleTo(ownerId, name && (await read(sources, name)));
  };
}

/**
 * Finds saved pipelines for their callers, from a cache of `LIMITS.pipelineCacheMs` that the database's
 * notifications invalidate. While Postgres is away, cached pipelines are served on: a run needs nothing else
 * of it. A missing pipeline is not cached, so that a new one can be called as soon as it is saved.
 *
 * Finds another owner's pipeline when it is public. Rejects with `store_unavailable` for one that is not
 * cached.
 */
export async function createSavedPipelines({
  pipelines,
  clock,
  schemaThread,
}: {
  pipelines: Pick<PipelineStore, "find" | "onChange">;
  clock: Clock;
  schemaThread: SchemaThread;
}): Promise<{ findPipeline: FindPipeline } & AsyncDisposable> {
  const cache = new InvalidatedCache<string, Found | undefined>({
    read: async (endpoint) => {
      const name = savedName(endpoint);
      return name && read({ pipelines, schemaThread }, name);
    },
    ttlMs: LIMITS.pipelineCacheMs,
    entriesMax: LIMITS.pipelinesCachedMax,
    onReadError(error, last) {
      if (!last || last.invalidated) throw error;
      return last.value;
    },
    clock,
  });
  const unsubscribe = await pipelines.onChange((name) => cache.invalidate(savedEndpoint(name)));
  return {
    async findPipeline(endpoint, ownerId) {
      const name = savedName(endpoint);
      return visibleTo(ownerId, name && (await cache.get(savedEndpoint(name))));
    },
    [Symbol.asyncDispose]: unsubscribe,
  };
}

const visibleTo = (ownerId: string, found: Found | undefined): PipelineRoute | undefined =>
  found && (found.isPublic || found.ownerId === ownerId) ? found.route : undefined;

async function read(
  { pipelines, schemaThread }: PipelineSources,
  name: PipelineName,
): Promise<Found | undefined> {
  const saved = await pipelines.find(name);
  if (!saved) return undefined;
  const { ownerId, isPublic } = saved;
  return { route: savedPipelineRoute(versionOf(saved), ownerId, schemaThread), ownerId, isPublic };
}

const versionOf = ({ ownerId, name, title, description = "", version, compiled, isPublic }: SavedPipeline) =>
  graphPipeline(compiled, {
    endpoint: savedEndpoint({ ownerId, name }),
    version: String(version),
    title,
    description,
    ...(!isPublic && { ownerId }),
  });
