import type { JsonObject, Stored } from "../json/json.ts";

/** The result of a node, which later nodes with the same key reuse (`node-key.ts`). */
export interface NodeResult {
  /** The request of the node that produced it. */
  requestId: string;
  output: Stored<JsonObject>;
  /** URLs of the files that belong to it: without them the result is worthless. */
  files: string[];
}

/** A claim reserves the making of a result for one request. */
export interface NodeClaim {
  key: string;
  ownerId: string;
  endpoint: string;
  version: string;
  /** The request of the node. Its own claim does not block it: its next attempt takes the claim over. */
  requestId: string;
}

/** `made`: there is a result. `claimed`: this request makes it. `busy`: another request is making it. */
export type NodeResultLookup =
  | { state: "made"; result: NodeResult }
  | { state: "claimed" }
  | { state: "busy" };

/**
 * Stores the results of pipeline nodes for reuse. Every method rejects with `store_unavailable` when
 * PostgreSQL cannot be reached.
 */
export interface NodeResultStore {
  /** Finds a result, or claims it for `leaseMs`. Of several concurrent callers, one gets the claim. */
  findOrClaim(claim: NodeClaim, leaseMs: number): Promise<NodeResultLookup>;

  /** Finds a result without claiming it. */
  find(key: string): Promise<NodeResult | undefined>;

  /** Renews a claim. */
  renew(claim: NodeClaim, leaseMs: number): Promise<void>;

  /**
   * Stores the result of a claim until `expiresAtMs`. Does nothing when the claim was lost to another
   * request in between.
   */
  store(claim: NodeClaim, result: NodeResult, expiresAtMs: number): Promise<void>;

  /** Releases a claim without a result. */
  release(claim: NodeClaim): Promise<void>;

  /** Deletes a result if it is still the one that `requestId` produced. */
  forget(key: string, requestId: string): Promise<void>;

  /** Deletes all results that a request produced, because its payloads are deleted. */
  forgetMadeBy(requestId: string): Promise<void>;

  /** Deletes expired results and claims. Returns their number. */
  sweep(nowMs: number): Promise<number>;

  /** Calls `listener` with each key whose claim has ended, with a result or without. Returns how to stop. */
  onSettled(listener: (key: string) => void): Promise<() => Promise<void>>;
}
