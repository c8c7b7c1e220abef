import { sleep } from "../../core/concurrency/sleep.ts";
import { expiryOf } from "../../core/files/lifecycle.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { JsonObject, Stored } from "../../core/json/json.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ModelVersion } from "../../core/models/model.ts";
import type { Clock } from "../../core/operations/clock.ts";
import { nodeKey } from "../../core/pipelines/node-key.ts";
import type {
  NodeClaim,
  NodeResult,
  NodeResultLookup,
  NodeResultStore,
} from "../../core/pipelines/node-result-store.ts";
import type { JobSpec } from "../../core/requests/job.ts";
import type { ResolveFileUrl } from "../inference/file-url-resolver.ts";
import type { FetchedInput } from "../inference/input-files.ts";

/** The result of a lookup: an earlier result, or the claim to make one. */
export type CacheLookup = CachedResult | ResultClaim;

/** An earlier result, and the request that made it. */
export interface CachedResult {
  output: Stored<JsonObject>;
  madeBy: string;
}

/** The claim of a node to make a result. It must end with one of the two calls. */
export interface ResultClaim {
  /** Stores the output and the addresses of its files. From now on other nodes may reuse it. */
  store(output: Stored<JsonObject>, files: string[]): Promise<void>;
  /** Gives up. A node that waited for the result makes it now. */
  release(): Promise<void>;
}

/** The claim of a node whose result is not cached. */
const UNCACHED: ResultClaim = { store: async () => {}, release: async () => {} };

export interface NodeCacheDependencies {
  results: NodeResultStore;
  objects: Pick<ObjectStore, "head">;
  resolveFileUrl: ResolveFileUrl;
  findModel: (endpoint: string, version: string) => Pick<ModelVersion, "engine" | "runner"> | undefined;
  clock: Clock;
  /** The time for which a result may be reused; it ends earlier with the lifetime of its files. 0: never. */
  keepMs: number;
  warn: (message: string) => void;
  /** A claim that was not renewed for this long may be taken over. */
  leaseMs?: number;
}

/** Creates the cache and its one subscription to the claims that end in other processes. */
export async function createNodeCache(dependencies: NodeCacheDependencies): Promise<NodeCache> {
  const ended = new EndedClaims();
  const unsubscribe = await dependencies.results.onSettled((key) => ended.announce(key));
  return new NodeCache(dependencies, ended, unsubscribe);
}

/**
 * The results of pipeline nodes, as the inference activity uses them: single flight over all workers. An
 * unavailable store costs only the reuse: the node runs then.
 */
export class NodeCache implements AsyncDisposable {
  readonly #dependencies: NodeCacheDependencies;
  readonly #leaseMs: number;
  readonly #ended: EndedClaims;
  readonly #unsubscribe: () => Promise<void>;

  constructor(dependencies: NodeCacheDependencies, ended: EndedClaims, unsubscribe: () => Promise<void>) {
    this.#dependencies = dependencies;
    this.#leaseMs = dependencies.leaseMs ?? LIMITS.nodeClaimMs;
    this.#ended = ended;
    this.#unsubscribe = unsubscribe;
  }

  /**
   * Looks for an earlier result of the same owner, model version and input. While another request is making
   * that result, waits for it, and takes its claim over when it fails or stops renewing. Rejects with the
   * signal's reason.
   */
  async lookUp(
    job: JobSpec,
    fetched: Pick<FetchedInput, "input" | "files">,
    signal: AbortSignal,
  ): Promise<CacheLookup> {
    if (this.#dependencies.keepMs === 0) return UNCACHED;
    const claim = this.#claimOf(job, fetched);
    try {
      const found = await this.#findOrClaim(claim, signal);
      if (found.state === "made") return { output: found.result.output, madeBy: found.result.requestId };
    } catch (error) {
      signal.throwIfAborted();
      this.#warn(error);
      return UNCACHED;
    }
    return this.#hold(claim, job);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#unsubscribe();
  }

  #claimOf(job: JobSpec, { input, files }: Pick<FetchedInput, "input" | "files">): NodeClaim {
    const { ownerId, endpoint, version, requestId } = job;
    const model = this.#dependencies.findModel(endpoint, version);
    const runner = model ? `${model.engine}/${model.runner}` : "";
    return { key: nodeKey({ ...job, runner, input, files }), ownerId, endpoint, version, requestId };
  }

  /** Waits until there is a usable result, or the claim is this request's own. */
  async #findOrClaim(
    claim: NodeClaim,
    signal: AbortSignal,
  ): Promise<Exclude<NodeResultLookup, { state: "busy" }>> {
    const { results } = this.#dependencies;
    for (;;) {
      signal.throwIfAborted();
      // Subscribed before the lookup, so that no end of a claim is missed in between.
      using watch = this.#ended.watch(claim.key);
      const found = await results.findOrClaim(claim, this.#leaseMs);
      if (found.state === "claimed") return found;
      if (found.state === "busy") await pauseUntil(watch.signal, LIMITS.nodeClaimPollMs, signal);
      else if (await this.#isAvailable(found.result, claim.ownerId)) return found;
      else await results.forget(claim.key, found.result.requestId);
    }
  }

  /** Renews the claim until it ends. */
  #hold(claim: NodeClaim, job: JobSpec): ResultClaim {
    const { results, clock, keepMs } = this.#dependencies;
    const leaseMs = this.#leaseMs;
    const warn = (error: unknown) => this.#warn(error);
    const startedAtMs = clock.nowMs();
    const renewal = setInterval(() => results.renew(claim, leaseMs).catch(warn), leaseMs / 3);
    return {
      async store(output, files) {
        clearInterval(renewal);
        // The lifetime of a file began when this attempt did, at the earliest.
        const expiresAtMs = Math.min(
          startedAtMs + keepMs,
          expiryOf(job.lifecycle ?? {}, startedAtMs) ?? Number.POSITIVE_INFINITY,
        );
        await results.store(claim, { requestId: job.requestId, output, files }, expiresAtMs).catch(warn);
      },
      async release() {
        clearInterval(renewal);
        await results.release(claim).catch(warn);
      },
    };
  }

  /** Checks that the owner can still read all files of a result, and its output where that is an object. */
  async #isAvailable({ output, files }: NodeResult, ownerId: string): Promise<boolean> {
    const { objects, resolveFileUrl } = this.#dependencies;
    const fileKeys = await Promise.all(files.map((url) => resolveFileUrl(url, ownerId)));
    const keys = [...fileKeys, ...("ref" in output ? [output.ref] : [])];
    const heads = await Promise.all(keys.map((key) => (key === undefined ? undefined : objects.head(key))));
    return heads.every((head) => head !== undefined);
  }

  #warn(error: unknown): void {
    this.#dependencies.warn(`the result of this node is neither reused nor cached: ${String(error)}`);
  }
}

/** Watchers of claims, by key. */
class EndedClaims {
  readonly #watchers = new Map<string, Set<AbortController>>();

  /** Returns a signal that aborts when the claim of this key ends. Dispose of it when it is not needed. */
  watch(key: string): { signal: AbortSignal } & Disposable {
    const watcher = new AbortController();
    const watchers = this.#watchers.get(key) ?? new Set();
    this.#watchers.set(key, watchers.add(watcher));
    return {
      signal: watcher.signal,
      [Symbol.dispose]: () => {
        watchers.delete(watcher);
        if (watchers.size === 0 && this.#watchers.get(key) === watchers) this.#watchers.delete(key);
      },
    };
  }

  announce(key: string): void {
    for (const watcher of this.#watchers.get(key) ?? []) watcher.abort();
  }
}

/** Sleeps until `ended` aborts, at most `ms`. Rejects with the reason of `signal` when that aborts. */
async function pauseUntil(ended: AbortSignal, ms: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(ms, AbortSignal.any([signal, ended]));
  } catch {
    signal.throwIfAborted();
  }
}
