/**
 * A flag switches a model, a workflow or a named behaviour on or off: for everybody, for one owner, or for a
 * share of the owners. What has no flag is on.
 */
import { rolloutBucket } from "./rollout-bucket.ts";

export const FLAG_KINDS = ["model", "workflow", "behaviour"] as const;
export type FlagKind = (typeof FLAG_KINDS)[number];

/**
 * The behaviours that can be switched off, and what that does. Requests that run keep what they were started
 * with.
 */
export const BEHAVIOURS = {
  webhooks:
    "Submits may name a webhook. Off: a submit with `fal_webhook` is refused; deliveries on their way go on.",
  realtime: "Realtime sockets may be opened. Off: new ones are refused; open ones go on.",
  node_cache:
    "Nodes of pipelines may answer with the result of an earlier run. Off: every node runs, and none is kept for later.",
  previews: "Streams carry previews. Off: they have progress and the output, and nothing between.",
} as const satisfies Record<string, string>;
export type Behaviour = keyof typeof BEHAVIOURS;

export const isBehaviour = (name: string): name is Behaviour => Object.hasOwn(BEHAVIOURS, name);

export interface Flag {
  kind: FlagKind;
  /** An endpoint, or a behaviour's name. */
  name: string;
  /** The owner it is for; absent: everybody. */
  ownerId?: string;
  /** Percent of the owners it is on for: 0 is off, 100 is on. */
  share: number;
  /** Key that set it. */
  changedBy: string;
  changedAtMs: number;
  revision: number;
}

/** What is on. */
export interface Flags {
  /**
   * Whether it is on for this owner: by the owner's own flag, else by the one for everybody. Reads memory
   * only.
   */
  isOn(kind: FlagKind, name: string, ownerId: string): boolean;
}

/** Makes flags of their rows. */
export function readFlags(rows: readonly Flag[]): Flags {
  const keyOf = (kind: FlagKind, name: string, ownerId: string): string => `${kind}\n${name}\n${ownerId}`;
  const shares = new Map(
    rows.map(({ kind, name, ownerId = "", share }) => [keyOf(kind, name, ownerId), share]),
  );
  return {
    isOn(kind, name, ownerId) {
      if (shares.size === 0) return true;
      const share = shares.get(keyOf(kind, name, ownerId)) ?? shares.get(keyOf(kind, name, "")) ?? 100;
      return share >= 100 || (share > 0 && rolloutBucket(`${kind}/${name}`, ownerId) < share);
    },
  };
}
