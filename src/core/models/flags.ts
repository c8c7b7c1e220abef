/**
 * A flag switches a model, a workflow or a named behaviour on or off: for everybody, for one owner, or for a
 * share of the owners. Without a flag it is on.
 */
import { rolloutBucket } from "./rollout.ts";

export const FLAG_KINDS = ["model", "workflow", "behaviour"] as const;
export type FlagKind = (typeof FLAG_KINDS)[number];

/**
 * The behaviours that can be switched off, each with the effect. Running requests keep the behaviours with
 * which they were started.
 */
export const BEHAVIOURS = {
  webhooks:
    "Submits may name a webhook. Off: a submit with `fal_webhook` is refused; deliveries under way continue.",
  realtime: "Realtime sockets may be opened. Off: new ones are refused; open ones continue.",
  node_cache:
    "Nodes of pipelines may reuse the result of an earlier run. Off: every node runs, and no result is " +
    "stored for later.",
  previews: "Streams carry previews. Off: they carry only progress and the output.",
} as const satisfies Record<string, string>;
export type Behaviour = keyof typeof BEHAVIOURS;

export function isBehaviour(name: string): name is Behaviour {
  return Object.hasOwn(BEHAVIOURS, name);
}

export interface Flag {
  kind: FlagKind;
  /** An endpoint, or the name of a behaviour. */
  name: string;
  /** The owner it applies to; absent: everybody. */
  ownerId?: string;
  /** Percentage of the owners for whom it is on: 0 is off, 100 is on. */
  share: number;
  /** Id of the key that set it. */
  changedBy: string;
  changedAtMs: number;
  revision: number;
}

/** The flags, in memory. */
export interface Flags {
  /**
   * Tells whether it is on for this owner: by the owner's own flag, otherwise by the one for everybody.
   */
  isOn(kind: FlagKind, name: string, ownerId: string): boolean;
}

/** Indexes flags by what they apply to. */
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
