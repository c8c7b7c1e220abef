import type { JsonObject, Stored } from "../json/json.ts";

/** The result of a node, for later nodes of the same key (`node-key.ts`). */
export interface NodeResult {
  /** The node's request that made it. */
  requestId: string;
  output: Stored<JsonObject>;
  /** Addresses of the files that were made with it: without them it is worth nothing. */
  files: string[];
}

/** Who makes a result, so that nobody else does meanwhile. */
export interface NodeClaim {
  key: string;
  ownerId: string;
  endpoint: string;
  version: string;
  /** The node's request. Its own claim never stands in its way: another attempt takes it over. */
  requestId: string;
}

/** `made`: there is a result. `claimed`: this one is to make it. `busy`: another one is at it. */
export type NodeResultLookup =
  | { state: "made"; result: NodeResult }
  | { state: "claimed" }
  | { state: "busy" };

/**
 * The results that nodes of pipelines left. Every method rejects with `store_unavailable` when Postgres
 * cannot be reached.
 */
export interface NodeResultStore {
  /** Finds a result, or claims the making of it for `leaseMs`. Of many at once, one has the claim. */
  findOrClaim(claim: NodeClaim, leaseMs: number): Promise<NodeResultLookup>;

  /** Finds a result; claims nothing. */
  find(key: string): Promise<NodeResult | undefined>;

  /** Goes on holding a claim. */
  renew(claim: NodeClaim, leaseMs: number): Promise<void>;

  /**
   * Keeps the result of a claim until `expiresAtMs`. One that was lost to another request in between is left
   * to that.
   */
  store(claim: NodeClaim, result: NodeResult, expiresAtMs: number): Promise<void>;

  /** Gives a claim up: nothing was made. */
  release(claim: NodeClaim): Promise<void>;

  /** Forgets a result, if it is still the one that `requestId` made. */
  forget(key: string, requestId: string): Promise<void>;

  /** Forgets everything that a request made: its payloads are deleted. */
  forgetMadeBy(requestId: string): Promise<void>;

  /** Forgets results whose time has passed and claims that nobody holds. Returns how many went. */
  sweep(nowMs: number): Promise<number>;

  /** Calls `listener` with each key whose claim has ended, with a result or without. Returns how to stop. */
  onSettled(listener: (key: string) => void): Promise<() => Promise<void>>;
}
