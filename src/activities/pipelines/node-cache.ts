import type { JobSpec } from "../../core/requests/job.ts";
import type { JsonObject, Stored } from "../../core/json/json.ts";
import { expiryOf } from "../../core/files/lifecycle.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ModelVersion } from "../../core/models/model.ts";
import { nodeKey } from "../../core/pipelines/node-key.ts";
import { pause } from "../../core/concurrency/sleep.ts";
import type { Clock } from "../../core/operations/clock.ts";
import type { NodeClaim, NodeResult, NodeResults, Taken } from "../../core/pipelines/node-result-store.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { FetchedInput } from "../inference/input-files.ts";

/**
 * A node before its run: an earlier result that stands for its own and the request that made it, or its turn
 * to make one.
 */
export type NodeTurn = { output: Stored<JsonObject>; madeBy: string } | NodeMaking;

/** The turn of a node to make a result. It must end with either. */
export interface NodeMaking {
  /** The run gave this, and these files with it. Others may have it from now on. */
  made(output: Stored<JsonObject>, files: string[]): Promise<void>;
  /** The run gave nothing. Who waited for it makes it now. */
  gaveUp(): Promise<void>;
}

const NOT_KEPT: NodeMaking = { made: async () => {}, gaveUp: async () => {} };

export interface NodeCache extends AsyncDisposable {
  /**
   * Looks for an earlier result of the same owner, model version and input. While another request is making
   * that very result, waits for it (single flight), and takes its place when it fails or falls silent.
   * Rejects with the signal's reason.
   *
   * A store that is away costs the reuse and nothing else: the node runs.
   */
  open(job: JobSpec, fetched: Pick<FetchedInput, "input" | "files">, signal: AbortSignal): Promise<NodeTurn>;
}

export interface NodeCacheDependencies {
  results: NodeResults;
  objects: Pick<ObjectStore, "head">;
  /** The key of an object of our own that an address names and that this owner may read. */
  ownKey: (url: string, ownerId: string) => Promise<string | undefined>;
  findModel: (endpoint: string, version: string) => Pick<ModelVersion, "engine" | "runner"> | undefined;
  clock: Clock;
  /** How long a result is reused at most; it ends sooner with its files. 0: not at all. */
  keepMs: number;
  warn: (message: string) => void;
  /** Silence after which a claim may be taken over. */
  leaseMs?: number;
}

/**
 * The results of nodes, as the activity that runs one sees them. Listens once, for the whole process, to
 * claims that end.
 */
export async function createNodeCache(parts: NodeCacheDependencies): Promise<NodeCache> {
  const { results, clock, keepMs, warn, leaseMs = LIMITS.nodeClaimMs } = parts;
  const waiting = new Map<string, Set<() => void>>();
  const stop = await results.onSettled((key) => {
    for (const wake of waiting.get(key) ?? []) wake();
  });

  /** Listens for the end of a key's claim from now on. */
  const listen = (key: string): { ended: AbortSignal } & Disposable => {
    const woken = new AbortController();
    const wake = (): void => woken.abort();
    const wakes = waiting.get(key) ?? new Set();
    waiting.set(key, wakes.add(wake));
    return {
      ended: woken.signal,
      [Symbol.dispose]: () => {
        wakes.delete(wake);
        if (wakes.size === 0 && waiting.get(key) === wakes) waiting.delete(key);
      },
    };
  };

  const taken = async (claim: NodeClaim, signal: AbortSignal): Promise<Exclude<Taken, { state: "busy" }>> => {
    for (;;) {
      signal.throwIfAborted();
      // Before the look, so that no end is missed between the two.
      using claimed = listen(claim.key);
      const found = await results.take(claim, leaseMs);
      if (found.state === "claimed") return found;
      if (found.state === "busy")
        await pause(LIMITS.nodeClaimLookMs, AbortSignal.any([signal, claimed.ended]));
      else if (await stillThere(parts, found.result, claim.ownerId)) return found;
      else await results.forget(claim.key, found.result.requestId);
    }
  };

  return {
    async open(job, { input, files }, signal) {
      if (keepMs === 0) return NOT_KEPT;
      const model = parts.findModel(job.endpoint, job.version);
      const runner = model ? `${model.engine}/${model.runner}` : "";
      const claim: NodeClaim = {
        key: nodeKey({ ...job, runner, input, files }),
        ownerId: job.ownerId,
        endpoint: job.endpoint,
        version: job.version,
        requestId: job.requestId,
      };
      const unused = (error: unknown): void =>
        warn(`the result of this node is not reused or kept: ${String(error)}`);
      let found: Exclude<Taken, { state: "busy" }>;
      try {
        found = await taken(claim, signal);
      } catch (error) {
        signal.throwIfAborted();
        unused(error);
        return NOT_KEPT;
      }
      if (found.state === "made") return { output: found.result.output, madeBy: found.result.requestId };
      const startedAtMs = clock.nowMs();
      const holding = setInterval(() => results.hold(claim, leaseMs).catch(unused), leaseMs / 3);
      return {
        async made(output, files) {
          clearInterval(holding);
          // A file's time began at the earliest when this attempt did.
          const expiresAtMs = Math.min(
            startedAtMs + keepMs,
            expiryOf(job.lifecycle ?? {}, startedAtMs) ?? Number.POSITIVE_INFINITY,
          );
          await results.keep(claim, { requestId: job.requestId, output, files }, expiresAtMs).catch(unused);
        },
        async gaveUp() {
          clearInterval(holding);
          await results.release(claim).catch(unused);
        },
      };
    },
    [Symbol.asyncDispose]: stop,
  };
}

/**
 * Whether everything that a result names can still be had by its owner: its files, and itself when it lies in
 * the object store.
 */
async function stillThere(
  { objects, ownKey }: Pick<NodeCacheDependencies, "objects" | "ownKey">,
  { output, files }: NodeResult,
  ownerId: string,
): Promise<boolean> {
  const keys = await Promise.all(files.map((url) => ownKey(url, ownerId)));
  const all = [...keys, ...("ref" in output ? [output.ref] : [])];
  const heads = await Promise.all(all.map((key) => (key === undefined ? undefined : objects.head(key))));
  return heads.every((head) => head !== undefined);
}
