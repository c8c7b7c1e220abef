import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { Flag } from "../../../core/models/flags.ts";
import type { FlagName, FlagStore } from "../../../core/models/flag-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

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

/** The flags, in Postgres. */
export const createFlagStore = (sql: Sql): FlagStore => {
  /** The flag as it is, and nobody else's to change until the transaction ends. */
  const hold = async (
    tx: Sql,
    { kind, name, ownerId = "" }: FlagName,
    revision: number | undefined,
  ): Promise<Flag | undefined> => {
    // A row that is not there cannot be locked: its name is.
    await tx`SELECT pg_advisory_xact_lock(hashtextextended(${storableText(`flag ${kind} ${name} ${ownerId}`)}, 0))`;
    const [row] = await tx<FlagRow[]>`
      SELECT * FROM flags WHERE kind = ${kind} AND name = ${storableText(name)} AND owner_id = ${storableText(ownerId)}`;
    if (revision !== undefined && revision !== Number(row?.revision ?? 0)) {
      const now = row ? `on for ${row.share} % at revision ${row.revision}` : "not set";
      throw new TemperaError(
        "changed_meanwhile",
        `The flag ${kind} ${name} was changed by somebody else: it is ${now}. Look again, then change it.`,
      );
    }
    return row && flagOf(row);
  };
  const inOne = <T>(work: (tx: Sql) => Promise<T>): Promise<T> =>
    answer(sql, sql.begin((tx) => work(tx as unknown as Sql)) as Promise<T>);

  return {
    async list() {
      return (await answer(sql, sql<FlagRow[]>`SELECT * FROM flags ORDER BY kind, name, owner_id`)).map(
        flagOf,
      );
    },

    set: (flag, revision) =>
      inOne(async (tx) => {
        const before = await hold(tx, flag, revision);
        const [row] = await tx<FlagRow[]>`
          INSERT INTO flags (kind, name, owner_id, share, changed_by)
          VALUES (${flag.kind}, ${storableText(flag.name)}, ${storableText(flag.ownerId ?? "")}, ${flag.share}, ${flag.changedBy})
          ON CONFLICT (kind, name, owner_id) DO UPDATE SET share = excluded.share, changed_by = excluded.changed_by
          RETURNING *`;
        return { before, after: flagOf(row as FlagRow) };
      }),

    clear: (flag, revision) =>
      inOne(async (tx) => {
        const before = await hold(tx, flag, revision);
        await tx`DELETE FROM flags WHERE kind = ${flag.kind} AND name = ${storableText(flag.name)} AND owner_id = ${storableText(flag.ownerId ?? "")}`;
        return before;
      }),
  };
};
