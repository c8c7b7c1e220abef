import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { FlagName, FlagStore } from "../../../core/models/flag-store.ts";
import type { Flag } from "../../../core/models/flags.ts";
import { answer, inTransaction, type Sql, storableText } from "../connection.ts";

interface FlagRow {
  kind: Flag["kind"];
  name: string;
  owner_id: string;
  share: number;
  changed_by: string;
  changed_at: Date;
  revision: string;
}

const flagOf = (row: FlagRow): Flag => ({
  kind: row.kind,
  name: row.name,
  ...(row.owner_id !== "" && { ownerId: row.owner_id }),
  share: row.share,
  changedBy: row.changed_by,
  changedAtMs: row.changed_at.getTime(),
  revision: Number(row.revision),
});

/** Creates the PostgreSQL store of flags. */
export function createFlagStore(sql: Sql): FlagStore {
  return {
    async list() {
      const rows = await answer(sql, sql<FlagRow[]>`SELECT * FROM flags ORDER BY kind, name, owner_id`);
      return rows.map(flagOf);
    },

    set: (flag, revision) =>
      inTransaction(sql, async (tx) => {
        const before = await lockFlag(tx, flag, revision);
        const [row] = await tx<FlagRow[]>`
        INSERT INTO flags (kind, name, owner_id, share, changed_by)
        VALUES (${flag.kind}, ${storableText(flag.name)}, ${storableText(flag.ownerId ?? "")}, ${flag.share},
                ${flag.changedBy})
        ON CONFLICT (kind, name, owner_id) DO UPDATE
          SET share = excluded.share, changed_by = excluded.changed_by
        RETURNING *`;
        return { before, after: flagOf(row as FlagRow) };
      }),

    clear: (flag, revision) =>
      inTransaction(sql, async (tx) => {
        const before = await lockFlag(tx, flag, revision);
        await tx`DELETE FROM flags WHERE ${isNamed(tx, flag)}`;
        return before;
      }),
  };
}

const isNamed = (sql: Sql, { kind, name, ownerId = "" }: FlagName) =>
  sql`kind = ${kind} AND name = ${storableText(name)} AND owner_id = ${storableText(ownerId)}`;

/**
 * Reads a flag and keeps others from changing it until the transaction ends. Rejects with
 * `precondition_failed` when its revision is not `revision`.
 */
async function lockFlag(tx: Sql, flag: FlagName, revision: number | undefined): Promise<Flag | undefined> {
  const { kind, name, ownerId = "" } = flag;
  // A missing row cannot be locked, so the lock is on the flag's name.
  const lock = storableText(`flag ${kind} ${name} ${ownerId}`);
  await tx`SELECT pg_advisory_xact_lock(hashtextextended(${lock}, 0))`;
  const [row] = await tx<FlagRow[]>`SELECT * FROM flags WHERE ${isNamed(tx, flag)}`;
  if (revision !== undefined && revision !== Number(row?.revision ?? 0)) {
    const now = row ? `on for ${row.share} % at revision ${row.revision}` : "not set";
    throw new TemperaError(
      "precondition_failed",
      `The flag ${kind} ${name} was changed by somebody else: it is ${now}. ` +
        "Read it again, then change it.",
    );
  }
  return row && flagOf(row);
}
