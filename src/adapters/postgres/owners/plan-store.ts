import type { Allowance, KeyAllowance, Owner, Plan } from "../../../core/owners/plan.ts";
import { DEFAULT_PLAN } from "../../../core/owners/plan.ts";
import type { AllowanceChange, PlanChange, PlanStore } from "../../../core/owners/plan-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel of the triggers in the migration that made the tables. */
const CHANNEL = "plans_changed";

interface PlanRow {
  plan_id: string;
  allowance: Allowance;
  updated_at: Date;
}
interface OwnerRow extends PlanRow {
  owner_id: string;
}

const planOf = ({ plan_id, allowance, updated_at }: PlanRow): Plan => ({
  planId: plan_id,
  allowance,
  updatedAtMs: updated_at.getTime(),
});
const ownerOf = (row: OwnerRow): Owner => ({ ...planOf(row), ownerId: row.owner_id });

/** Fields to set and names of fields to take away, as the statements want them. */
function partsOf(change: AllowanceChange): { set: string; away: string[] } {
  const given = Object.entries(change).filter(([, value]) => value !== undefined);
  return {
    set: JSON.stringify(Object.fromEntries(given.filter(([, value]) => value !== null))),
    away: given.flatMap(([name, value]) => (value === null ? [name] : [])),
  };
}

function readChange(payload: string): PlanChange {
  const [kind, ...id] = payload.split(":");
  return kind === "plan" || kind === "owner" || kind === "key"
    ? { kind, id: id.join(":") }
    : { kind: "unknown" };
}

/** Plans, owners and what keys have of their own, in Postgres. */
export const createPlanStore = (sql: Sql): PlanStore => ({
  async allowanceOf(ownerId, keyId) {
    const [row] = await answer(
      sql,
      sql<{ owner: Allowance; key: KeyAllowance | null }[]>`
        SELECT allowance_of(${storableText(ownerId)}) AS owner,
               (SELECT allowance FROM key_allowances WHERE key_id = ${storableText(keyId)}) AS key`,
    );
    return { owner: row?.owner ?? {}, key: row?.key ?? {} };
  },

  async plans() {
    return (await answer(sql, sql<PlanRow[]>`SELECT * FROM plans ORDER BY plan_id`)).map(planOf);
  },

  async plan(planId) {
    const [row] = await answer(
      sql,
      sql<PlanRow[]>`SELECT * FROM plans WHERE plan_id = ${storableText(planId)}`,
    );
    return row && planOf(row);
  },

  async changePlan(planId, change) {
    const { set, away } = partsOf(change);
    const [row] = await answer(
      sql,
      sql<PlanRow[]>`
        INSERT INTO plans (plan_id, allowance) VALUES (${planId}, ${set}::text::jsonb)
        ON CONFLICT (plan_id) DO UPDATE
          SET allowance = (plans.allowance - ${away}::text[]) || excluded.allowance, updated_at = now()
        RETURNING *`,
    );
    return planOf(row as PlanRow);
  },

  async removePlan(planId) {
    if (planId === DEFAULT_PLAN) return "in_use";
    try {
      const { count } = await answer(sql, sql`DELETE FROM plans WHERE plan_id = ${storableText(planId)}`);
      return count > 0 ? "removed" : "unknown";
    } catch (error) {
      if (isReferenceFault(error)) return "in_use";
      throw error;
    }
  },

  async owners({ afterOwnerId = "", limit }) {
    const rows = await answer(
      sql,
      sql<
        OwnerRow[]
      >`SELECT * FROM owners WHERE owner_id > ${storableText(afterOwnerId)} ORDER BY owner_id LIMIT ${limit}`,
    );
    return rows.map(ownerOf);
  },

  async owner(ownerId) {
    const [row] = await answer(
      sql,
      sql<OwnerRow[]>`SELECT * FROM owners WHERE owner_id = ${storableText(ownerId)}`,
    );
    return row && ownerOf(row);
  },

  async changeOwner(ownerId, { planId, allowance }) {
    const { set, away } = partsOf(allowance);
    try {
      const [row] = await answer(
        sql,
        sql<OwnerRow[]>`
          INSERT INTO owners (owner_id, plan_id, allowance) VALUES (${ownerId}, ${planId ?? DEFAULT_PLAN}, ${set}::text::jsonb)
          ON CONFLICT (owner_id) DO UPDATE
            SET plan_id = COALESCE(${planId ?? null}, owners.plan_id),
                allowance = (owners.allowance - ${away}::text[]) || excluded.allowance, updated_at = now()
          RETURNING *`,
      );
      return ownerOf(row as OwnerRow);
    } catch (error) {
      if (isReferenceFault(error)) return undefined;
      throw error;
    }
  },

  async keyAllowance(keyId) {
    const [row] = await answer(
      sql,
      sql<
        { allowance: KeyAllowance }[]
      >`SELECT allowance FROM key_allowances WHERE key_id = ${storableText(keyId)}`,
    );
    return row?.allowance ?? {};
  },

  async changeKey(keyId, change) {
    const { set, away } = partsOf(change);
    try {
      const [row] = await answer(
        sql,
        sql<{ allowance: KeyAllowance }[]>`
          INSERT INTO key_allowances (key_id, allowance) VALUES (${storableText(keyId)}, ${set}::text::jsonb)
          ON CONFLICT (key_id) DO UPDATE SET allowance = (key_allowances.allowance - ${away}::text[]) || excluded.allowance
          RETURNING allowance`,
      );
      return row?.allowance ?? {};
    } catch (error) {
      if (isReferenceFault(error)) return undefined;
      throw error;
    }
  },

  async onChange(listener) {
    let listening = false;
    const { unlisten } = await answer(
      sql,
      // The driver listens again on a new connection when the old one was lost; what changed in between was
      // not told.
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

/** SQLSTATE 23503: a row that another one names is not there, or would go. */
const isReferenceFault = (error: unknown): boolean => (error as { code?: unknown }).code === "23503";
