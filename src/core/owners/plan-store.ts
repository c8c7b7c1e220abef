import type { KeyLimits, Owner, Plan, PlanLimits } from "./plan.ts";

/** The limits of one caller: those of the owner (its plan with its exceptions), and the key's own. */
export interface CallerLimits {
  owner: PlanLimits;
  key: KeyLimits;
}

/** A change of limits. A change of a plan may concern any owner; `unknown` may be any change. */
export type PlanChange = { kind: "plan" | "owner" | "key"; id: string } | { kind: "unknown" };

/** Limits to set; `null` removes one. */
export type LimitsChange = { [Field in keyof PlanLimits]?: PlanLimits[Field] | null };

/**
 * Stores plans and limits. Every method rejects with `store_unavailable` when PostgreSQL cannot be reached.
 */
export interface PlanStore {
  /** Reads the limits of a caller with one query. */
  limitsOf(ownerId: string, keyId: string): Promise<CallerLimits>;

  plans(): Promise<Plan[]>;
  plan(planId: string): Promise<Plan | undefined>;
  /**
   * Changes the named fields only, atomically: concurrent changes of different fields both take effect.
   * Creates the plan when there is none.
   */
  changePlan(planId: string, change: LimitsChange): Promise<Plan>;
  /** Removes a plan. `in_use`: owners have it, so it was not removed. The default plan is always in use. */
  removePlan(planId: string): Promise<"removed" | "unknown" | "in_use">;

  /** Lists owners by name, those after `afterOwnerId`. */
  owners(page: { afterOwnerId?: string; limit: number }): Promise<Owner[]>;
  owner(ownerId: string): Promise<Owner | undefined>;
  /** Changes an owner as `changePlan` does a plan. Returns `undefined` when there is no such plan. */
  changeOwner(ownerId: string, change: { planId?: string; limits: LimitsChange }): Promise<Owner | undefined>;

  keyLimits(keyId: string): Promise<KeyLimits>;
  /** Changes the limits of a key. Returns `undefined` when there is no such key. */
  changeKey(keyId: string, change: LimitsChange): Promise<KeyLimits | undefined>;

  /**
   * Calls `listener` with each change as soon as the database announces it, and with `unknown` when changes
   * may have been missed. Returns how to stop.
   */
  onChange(listener: (change: PlanChange) => void): Promise<() => Promise<void>>;
}
