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
import { type FindPipeline, type PipelineRoute, pipelineRoute } from "../../registry/registry.ts";

interface Found {
  route: PipelineRoute;
  /** Changes with everything that the route is made of. */
  updatedAtMs: number;
  ownerId: string;
  isPublic: boolean;
}

/** Asks the store each time: for definitions, which are checked against what is there now. */
export const createFindPipeline =
  (pipelines: Pick<PipelineStore, "find">): FindPipeline =>
  async (endpoint, ownerId) => {
    const name = savedName(endpoint);
    return visibleTo(ownerId, name && (await read(pipelines, name)));
  };

/**
 * Finds saved pipelines for those who call them, with a memory of `LIMITS.pipelineCacheMs`, emptied at once
 * for a name the database says has changed. While Postgres is away, what was seen goes on being served: a run
 * needs nothing else of it. What is not there is not remembered, so that a new pipeline can be called as soon
 * as it is saved.
 *
 * Another owner's is found when it is public. Rejects with `store_unavailable` for one not seen before.
 */
export async function createSavedPipelines({
  pipelines,
  clock,
}: {
  pipelines: Pick<PipelineStore, "find" | "onChange">;
  clock: Clock;
}): Promise<{ findPipeline: FindPipeline } & AsyncDisposable> {
  const memory = new Map<string, { found: Found; atMs: number }>();
  const asking = new Map<string, Promise<Found | undefined>>();
  let changes = 0;
  const stop = await pipelines.onChange((name) => {
    changes += 1;
    memory.delete(savedEndpoint(name));
    // Who asks from now on is not told what was read before the change.
    asking.delete(savedEndpoint(name));
  });

  return {
    async findPipeline(endpoint, ownerId) {
      const name = savedName(endpoint);
      return visibleTo(ownerId, name && (await find(savedEndpoint(name), name)));
    },
    [Symbol.asyncDispose]: stop,
  };

  async function find(endpoint: string, name: PipelineName): Promise<Found | undefined> {
    const seen = memory.get(endpoint);
    if (seen && clock.nowMs() - seen.atMs < LIMITS.pipelineCacheMs) return seen.found;
    // Many callers of one pipeline ask once.
    const before = asking.get(endpoint);
    if (before) return before;
    const answer = ask(endpoint, name);
    asking.set(endpoint, answer);
    try {
      return await answer;
    } finally {
      if (asking.get(endpoint) === answer) asking.delete(endpoint);
    }
  }

  async function ask(endpoint: string, name: PipelineName): Promise<Found | undefined> {
    const seen = memory.get(endpoint);
    const before = changes;
    try {
      const found = await read(pipelines, name, seen?.found);
      // What was read while something changed may be what was there before.
      if (changes !== before) return found;
      memory.delete(endpoint);
      if (memory.size >= LIMITS.pipelinesRememberedMax) memory.clear();
      if (found) memory.set(endpoint, { found, atMs: clock.nowMs() });
      return found;
    } catch (error) {
      if (!seen) throw error;
      // The store is away: what is known serves for a while without another wait.
      memory.set(endpoint, { found: seen.found, atMs: clock.nowMs() });
      return seen.found;
    }
  }
}

const visibleTo = (ownerId: string, found: Found | undefined): PipelineRoute | undefined =>
  found && (found.isPublic || found.ownerId === ownerId) ? found.route : undefined;

/**
 * @param before what was read earlier: its input check is kept when nothing has changed, since making one
 * takes long
 */
async function read(
  pipelines: Pick<PipelineStore, "find">,
  name: PipelineName,
  before?: Found,
): Promise<Found | undefined> {
  const saved = await pipelines.find(name);
  if (!saved) return undefined;
  const { ownerId, isPublic, updatedAtMs } = saved;
  const { route } =
    before?.updatedAtMs === updatedAtMs &&
    before.isPublic === isPublic &&
    before.route.pipeline.version === String(saved.version)
      ? before
      : { route: pipelineRoute(versionOf(saved)) };
  return { route, ownerId, isPublic, updatedAtMs };
}

const versionOf = ({ ownerId, name, title, description = "", version, compiled, isPublic }: SavedPipeline) =>
  graphPipeline(compiled, {
    endpoint: savedEndpoint({ ownerId, name }),
    version: String(version),
    title,
    description,
    ...(!isPublic && { ownerId }),
  });
