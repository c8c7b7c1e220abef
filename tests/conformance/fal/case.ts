/** Defines one conformance case of the contract (§15). */
import type { Context } from "./context.ts";

/** Requirements that a case may have. */
export const NEEDS = {
  tls: "the server's HTTPS address and its authority (--tls-url, --ca)",
  otherKey: "a key of another owner (--other-key)",
  adminKey: "a key of scope ADMIN and the Platform API's address (--admin-key, --admin-url)",
  ownServer: "control over the server's process: run without --base-url",
} as const;

export type Need = keyof typeof NEEDS;

export interface Case {
  /** Number of the case in the contract. */
  number: number;
  title: string;
  needs?: Need[];
  /** No other case may use the server meanwhile: this one fills the queue, or stops the server. */
  alone?: true;
  /** The case mostly waits: it starts first and runs in parallel with the others. */
  waits?: true;
  /** Reason why the case applies to no server of this kind. */
  why?: string;
  /** The part that cannot be produced over the network, and the test that covers it. */
  elsewhere?: string;
  /** Resolves when the server behaves correctly; else rejects with a sentence, or with `NotApplicable`. */
  run(ctx: Context): Promise<void>;
}

/** The case needs something that this server cannot have; the message names it. */
export class NotApplicable extends Error {}

/** Defines a case about a feature that no server of this kind has. */
export const notApplicable = (number: number, title: string, why: string): Case => ({
  number,
  title,
  why,
  run: async () => {
    throw new NotApplicable(why);
  },
});
