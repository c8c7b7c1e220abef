import { InvalidatedCache } from "../../core/concurrency/invalidated-cache.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { PipelineVersion } from "../../core/pipelines/pipeline.ts";
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

/** A saved pipeline with the owner who wrote it. */
interface Found {
  pipeline: PipelineVersion;
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
    return routeFor(ownerId, name && (await read(sources.pipelines, name)), sources.schemaThread);
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
      return name && read(pipelines, name);
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
      return routeFor(ownerId, name && (await cache.get(savedEndpoint(name))), schemaThread);
    },
    [Symbol.asyncDispose]: unsubscribe,
  };
}

/** Makes the route of a saved pipeline for a caller who may use it. */
const routeFor = (
  callerId: string,
  found: Found | undefined,
  schemaThread: SchemaThread,
): PipelineRoute | undefined =>
  found && (found.isPublic || found.ownerId === callerId)
    ? savedPipelineRoute(found.pipeline, { writtenBy: found.ownerId, callerId }, schemaThread)
    : undefined;

async function read(pipelines: Pick<PipelineStore, "find">, name: PipelineName): Promise<Found | undefined> {
  const saved = await pipelines.find(name);
  if (!saved) return undefined;
  const { ownerId, isPublic } = saved;
  return { pipeline: versionOf(saved), ownerId, isPublic };
}

const versionOf = ({ ownerId, name, title, description = "", version, compiled, isPublic }: SavedPipeline) =>
  graphPipeline(compiled, {
    endpoint: savedEndpoint({ ownerId, name }),
    version: String(version),
    title,
    description,
    ...(!isPublic && { ownerId }),
  });
