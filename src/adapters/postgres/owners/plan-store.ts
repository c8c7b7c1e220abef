import { writeJson } from "../../../core/json/exact-json.ts";
import type { KeyLimits, Owner, Plan, PlanLimits } from "../../../core/owners/plan.ts";
import { DEFAULT_PLAN } from "../../../core/owners/plan.ts";
import type { LimitsChange, PlanChange, PlanStore } from "../../../core/owners/plan-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel that the tables' triggers notify. */
const CHANNEL = "plans_changed";

interface PlanRow {
  plan_id: string;
  limits: PlanLimits;
  updated_at: Date;
}
interface OwnerRow extends PlanRow {
  owner_id: string;
}

const planOf = (row: PlanRow): Plan => ({
  planId: row.plan_id,
  limits: row.limits,
  updatedAtMs: row.updated_at.getTime(),
});
const ownerOf = (row: OwnerRow): Owner => ({ ...planOf(row), ownerId: row.owner_id });

/** Splits a change into the fields to set, as JSON, and the names of the fields to remove. */
function partsOf(change: LimitsChange): { set: string; removed: string[] } {
  const given = Object.entries(change).filter(([, value]) => value !== undefined);
  return {
    set: writeJson(Object.fromEntries(given.filter(([, value]) => value !== null))),
    removed: given.flatMap(([name, value]) => (value === null ? [name] : [])),
  };
}

/** Parses a notification, `plan:pro`. */
function readChange(payload: string): PlanChange {
  const [kind, ...id] = payload.split(":");
  return kind === "plan" || kind === "owner" || kind === "key"
    ? { kind, id: id.join(":") }
    : { kind: "unknown" };
}

/** The columns of a `PlanRow`; the column of limits has an old name. */
const planColumns = (sql: Sql) => sql`plan_id, allowance AS limits, updated_at`;

/** Creates the PostgreSQL store of plans, and of the limits of owners and keys. */
export function createPlanStore(sql: Sql): PlanStore {
  return { ...plans(sql), ...owners(sql), ...keys(sql), ...callers(sql) };
}

const callers = (sql: Sql): Pick<PlanStore, "limitsOf" | "onChange"> => ({
  async limitsOf(ownerId, keyId) {
    const [row] = await answer(
      sql,
      sql<{ owner: PlanLimits; key: KeyLimits | null }[]>`
        SELECT allowance_of(${storableText(ownerId)}) AS owner,
               (SELECT allowance FROM key_allowances WHERE key_id = ${storableText(keyId)}) AS key`,
    );
    return { owner: row?.owner ?? {}, key: row?.key ?? {} };
  },

  async onChange(listener) {
    let listening = false;
    const { unlisten } = await answer(
      sql,
      // The driver subscribes again on a new connection when the old one was lost. Changes in between were
      // not announced.
      sql.listen(
        CHANNEL,
        (payload) => listener(readChange(payload)),
        () => {
          if (listening) listener({ kind: "unknown" });
          listening = true;
        },
      ),
    );
    return unlisten;
  },
});

const plans = (sql: Sql): Pick<PlanStore, "plans" | "plan" | "changePlan" | "removePlan"> => ({
  async plans() {
    const rows = await answer(sql, sql<PlanRow[]>`SELECT ${planColumns(sql)} FROM plans ORDER BY plan_id`);
    return rows.map(planOf);
  },

  async plan(planId) {
    const [row] = await answer(
      sql,
      sql<PlanRow[]>`SELECT ${planColumns(sql)} FROM plans WHERE plan_id = ${storableText(planId)}`,
    );
    return row && planOf(row);
  },

  async changePlan(planId, change) {
    const { set, removed } = partsOf(change);
    const [row] = await answer(
      sql,
      sql<PlanRow[]>`
        INSERT INTO plans (plan_id, allowance) VALUES (${planId}, ${set}::text::jsonb)
        ON CONFLICT (plan_id) DO UPDATE
          SET allowance = (plans.allowance - ${removed}::text[]) || excluded.allowance, updated_at = now()
        RETURNING ${planColumns(sql)}`,
    );
    return planOf(row as PlanRow);
  },

  async removePlan(planId) {
    if (planId === DEFAULT_PLAN) return "in_use";
    try {
      const { count } = await answer(sql, sql`DELETE FROM plans WHERE plan_id = ${storableText(planId)}`);
      return count > 0 ? "removed" : "unknown";
    } catch (error) {
      if (isForeignKeyViolation(error)) return "in_use";
      throw error;
    }
  },
});

const owners = (sql: Sql): Pick<PlanStore, "owners" | "owner" | "changeOwner"> => ({
  async owners({ afterOwnerId = "", limit }) {
    const rows = await answer(
      sql,
      sql<OwnerRow[]>`
        SELECT owner_id, ${planColumns(sql)} FROM owners WHERE owner_id > ${storableText(afterOwnerId)}
        ORDER BY owner_id LIMIT ${limit}`,
    );
    return rows.map(ownerOf);
  },

  async owner(ownerId) {
    const [row] = await answer(
      sql,
      sql<OwnerRow[]>`
        SELECT owner_id, ${planColumns(sql)} FROM owners WHERE owner_id = ${storableText(ownerId)}`,
    );
    return row && ownerOf(row);
  },

  async changeOwner(ownerId, { planId, limits }) {
    const { set, removed } = partsOf(limits);
    try {
      const [row] = await answer(
        sql,
        sql<OwnerRow[]>`
          INSERT INTO owners (owner_id, plan_id, allowance)
          VALUES (${ownerId}, ${planId ?? DEFAULT_PLAN}, ${set}::text::jsonb)
          ON CONFLICT (owner_id) DO UPDATE
            SET plan_id = COALESCE(${planId ?? null}, owners.plan_id),
                allowance = (owners.allowance - ${removed}::text[]) || excluded.allowance, updated_at = now()
          RETURNING owner_id, ${planColumns(sql)}`,
      );
      return ownerOf(row as OwnerRow);
    } catch (error) {
      if (isForeignKeyViolation(error)) return undefined;
      throw error;
    }
  },
});

const keys = (sql: Sql): Pick<PlanStore, "keyLimits" | "changeKey"> => ({
  async keyLimits(keyId) {
    const [row] = await answer(
      sql,
      sql<{ limits: KeyLimits }[]>`
        SELECT allowance AS limits FROM key_allowances WHERE key_id = ${storableText(keyId)}`,
    );
    return row?.limits ?? {};
  },

  async changeKey(keyId, change) {
    const { set, removed } = partsOf(change);
    try {
      const [row] = await answer(
        sql,
        sql<{ limits: KeyLimits }[]>`
          INSERT INTO key_allowances (key_id, allowance) VALUES (${storableText(keyId)}, ${set}::text::jsonb)
          ON CONFLICT (key_id) DO UPDATE
            SET allowance = (key_allowances.allowance - ${removed}::text[]) || excluded.allowance
          RETURNING allowance AS limits`,
      );
      return row?.limits ?? {};
    } catch (error) {
      if (isForeignKeyViolation(error)) return undefined;
      throw error;
    }
  },
});

/** SQLSTATE 23503: a referenced row is missing, or would be deleted. */
const isForeignKeyViolation = (error: unknown): boolean => (error as { code?: unknown }).code === "23503";
