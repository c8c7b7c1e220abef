import type { KeyLimits, Owner, Plan, PlanLimits } from "./plan.ts";

/**
 * What counts for one caller: the owner's plan with the owner's exceptions, and what the key has of its own.
 */
export interface CallerLimits {
  owner: PlanLimits;
  key: KeyLimits;
}

/** What changed; a change of a plan may concern anybody. */
export type PlanChange = { kind: "plan" | "owner" | "key"; id: string } | { kind: "unknown" };

/** Fields to set; `null` takes one away. */
export type LimitsChange = { [Field in keyof PlanLimits]?: PlanLimits[Field] | null };

/** Plans and who has them. Every method rejects with `store_unavailable` when Postgres cannot be reached. */
export interface PlanStore {
  /** One query. */
  limitsOf(ownerId: string, keyId: string): Promise<CallerLimits>;

  plans(): Promise<Plan[]>;
  plan(planId: string): Promise<Plan | undefined>;
  /**
   * Changes the named fields and leaves the others, in one step: two who change different fields both have
   * their way. Makes the plan when there is none.
   */
  changePlan(planId: string, change: LimitsChange): Promise<Plan>;
  /** `in_use`: owners have it, and it stays. The default plan is always in use. */
  removePlan(planId: string): Promise<"removed" | "unknown" | "in_use">;

  /** By name, after `afterOwnerId`. */
  owners(page: { afterOwnerId?: string; limit: number }): Promise<Owner[]>;
  owner(ownerId: string): Promise<Owner | undefined>;
  /** As `changePlan`. `undefined`: there is no such plan. */
  changeOwner(ownerId: string, change: { planId?: string; limits: LimitsChange }): Promise<Owner | undefined>;

  keyLimits(keyId: string): Promise<KeyLimits>;
  /** `undefined`: there is no such key. */
  changeKey(keyId: string, change: LimitsChange): Promise<KeyLimits | undefined>;

  /**
   * Calls `listener` with each change as soon as the database says so, and with `unknown` when changes may
   * have been missed. Returns how to stop.
   */
  onChange(listener: (change: PlanChange) => void): Promise<() => Promise<void>>;
}
