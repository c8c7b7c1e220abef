/**
 * A lifecycle is the lifetime of a file and the list of its readers (contract §6.3). Workflow code imports
 * this: types and pure functions only.
 */

/** `allow` serves the file, `forbid` refuses it (403), `hide` answers as if it did not exist (404). */
export type Decision = "allow" | "forbid" | "hide";

/** The access list of a file. Its owner may always read it. */
export interface Acl {
  /** Applies to readers that no rule names, and to readers without a key. */
  default: Decision;
  /** `user` is the owner of a key. */
  rules: { user: string; decision: Decision }[];
}

export interface Lifecycle {
  /** Seconds from the moment that the file is stored until it is deleted; absent: for ever. */
  lifetimeSeconds?: number;
  /** Absent: everybody who has the URL may read it. */
  acl?: Acl;
  /** Answers sign the file's addresses: its owner's plan keeps files private. */
  signed?: true;
}

/** The access list of a file that its owner's plan keeps private. */
const PRIVATE: Acl = { default: "hide", rules: [] };

const RANK: Record<Decision, number> = { hide: 0, forbid: 1, allow: 2 };

/** Tells whether a file can be read without any identity. */
export function isPublic(acl: Acl | undefined): boolean {
  return acl === undefined || (acl.default === "allow" && acl.rules.length === 0);
}

/**
 * Decides about a reader. With several identities (a key and a signed URL) the most permissive decision
 * counts; without any, the default.
 *
 * @param identities owners of the keys that the reader presents
 */
export function decide(acl: Acl | undefined, ownerId: string, identities: readonly string[]): Decision {
  if (acl === undefined || identities.includes(ownerId)) return "allow";
  const decisions = identities.map(
    (identity) => acl.rules.find(({ user }) => user === identity)?.decision ?? acl.default,
  );
  return decisions.reduce(
    (best, next) => (RANK[next] > RANK[best] ? next : best),
    decisions[0] ?? acl.default,
  );
}

/**
 * Returns the lifecycle of a new file under a plan that keeps files private: hidden, unless the file has an
 * access list, and with signed addresses, unless that list is open to everybody.
 */
export function keptPrivate(lifecycle: Lifecycle): Lifecycle {
  const { acl = PRIVATE } = lifecycle;
  return isPublic(acl) ? lifecycle : { ...lifecycle, acl, signed: true };
}

/** Returns the lifecycle with a lifetime, unless it has one. @param keptMs `null` and absent: for ever */
export function withLifetime(lifecycle: Lifecycle, keptMs: number | null | undefined): Lifecycle {
  return keptMs === null || keptMs === undefined || lifecycle.lifetimeSeconds !== undefined
    ? lifecycle
    : { ...lifecycle, lifetimeSeconds: keptMs / 1000 };
}

/** Returns the end of life of a file that was stored at `storedAtMs`; `undefined`: never. */
export function expiryOf({ lifetimeSeconds }: Lifecycle, storedAtMs: number): number | undefined {
  return lifetimeSeconds === undefined ? undefined : storedAtMs + lifetimeSeconds * 1000;
}
