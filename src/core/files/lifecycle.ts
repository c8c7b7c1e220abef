/**
 * A lifecycle is how long a file is kept and who may read it (contract §6.3). Imported by workflow code:
 * types and pure functions only.
 */

/** `allow` shows the file, `forbid` refuses it (403), `hide` denies that it exists (404). */
export type Decision = "allow" | "forbid" | "hide";

/** Who may read a file. Its owner always may. */
export interface Acl {
  /** For everybody whom no rule names, and for callers without a key. */
  default: Decision;
  /** `user` is the owner of a key. */
  rules: { user: string; decision: Decision }[];
}

export interface Lifecycle {
  /** Seconds from the moment the file is there until it is gone; absent: never. */
  lifetimeSeconds?: number;
  /** Absent: everybody who has the address. */
  acl?: Acl;
}

const RANK: Record<Decision, number> = { hide: 0, forbid: 1, allow: 2 };

/** Whether nobody needs to say who they are. */
export const isPublic = (acl: Acl | undefined): boolean =>
  acl === undefined || (acl.default === "allow" && acl.rules.length === 0);

/**
 * What a reader gets to see. One who comes with several identities (a key and a signed address) has the most
 * permissive decision of them; one with none has the default.
 *
 * @param identities key owners for whom the reader speaks
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

/** The same with a lifetime, unless it has one. @param keptMs `null` and absent: for ever */
export const withLifetime = (lifecycle: Lifecycle, keptMs: number | null | undefined): Lifecycle =>
  keptMs === null || keptMs === undefined || lifecycle.lifetimeSeconds !== undefined
    ? lifecycle
    : { ...lifecycle, lifetimeSeconds: keptMs / 1000 };

/** When a file that is there since `storedAtMs` is gone; `undefined`: never. */
export const expiryOf = ({ lifetimeSeconds }: Lifecycle, storedAtMs: number): number | undefined =>
  lifetimeSeconds === undefined ? undefined : storedAtMs + lifetimeSeconds * 1000;
