/** One line of the contract's list of conformance cases (§15), judged. */
import type { Context } from "./context.ts";

/** What a case cannot do without. */
export const NEEDS = {
  tls: "the server's HTTPS address and its authority (--tls-url, --ca)",
  otherKey: "a key of another owner (--other-key)",
  adminKey: "a key of scope ADMIN and the Platform API's address (--admin-key, --admin-url)",
  ownServer: "control over the server's process: run without --base-url",
} as const;

export type Need = keyof typeof NEEDS;

export interface Case {
  /** As in the contract. */
  number: number;
  title: string;
  needs?: Need[];
  /** Nothing else may ask the server for anything meanwhile: it fills the queue, or stops the server. */
  alone?: true;
  /** It mostly waits: it is begun first and runs beside the others. */
  waits?: true;
  /** Default 60 s. */
  timeoutMs?: number;
  /** Why it applies to no server of this kind. */
  why?: string;
  /** What of it cannot be brought about over the network, and the test that looks at it. */
  elsewhere?: string;
  /** Resolves when the server is right; rejects with a sentence when it is not, or with `NotApplicable`. */
  run(ctx: Context): Promise<void>;
}

/** The case asks for something that this server cannot have by its nature; the sentence says what. */
export class NotApplicable extends Error {}

/** A case about something that no server of this kind has. */
export const notApplicable = (number: number, title: string, why: string): Case => ({
  number,
  title,
  why,
  run: async () => {
    throw new NotApplicable(why);
  },
});
