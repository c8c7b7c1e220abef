import { TemperaError } from "../../../core/errors/tempera-error.ts";
import type { Lifecycle } from "../../../core/files/lifecycle.ts";
import type { StorageControl } from "../../../core/files/storage-control.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel that the table's trigger notifies. */
const CHANNEL = "storage_defaults_changed";

/** Creates the PostgreSQL store of files' access lists and of owners' defaults. */
export function createStorageControl(sql: Sql): StorageControl {
  return { ...accessLists(sql), ...defaults(sql) };
}

const accessLists = (sql: Sql): Pick<StorageControl, "aclOf" | "setAcl"> => ({
  async aclOf(fileId) {
    const [row] = await answer(
      sql,
      sql<{ owner_id: string; lifecycle: Lifecycle; revision: number }[]>`
        SELECT owner_id, lifecycle, revision FROM files
        WHERE file_id = ${storableText(fileId)} AND etag IS NOT NULL`,
    );
    return row && { value: { ownerId: row.owner_id, acl: row.lifecycle.acl }, revision: row.revision };
  },

  async setAcl(fileId, acl, revision) {
    for (;;) {
      const [row] = await answer(
        sql,
        sql<{ lifecycle: Lifecycle; revision: number }[]>`
          SELECT lifecycle, revision FROM files WHERE file_id = ${storableText(fileId)}`,
      );
      if (!row) throw new TemperaError("file_unknown");
      if (revision !== undefined && revision !== row.revision) throw new TemperaError("precondition_failed");
      const lifecycle: Lifecycle = { ...row.lifecycle, acl };
      const [set] = await answer(
        sql,
        sql<{ revision: number }[]>`
          UPDATE files SET lifecycle = ${writeJson(lifecycle)}::text::json, revision = revision + 1
          WHERE file_id = ${storableText(fileId)} AND revision = ${row.revision} RETURNING revision`,
      );
      // Somebody changed it between the two statements: read it again.
      if (set) return { value: acl, revision: set.revision };
    }
  },
});

const defaults = (
  sql: Sql,
): Pick<StorageControl, "defaultsOf" | "setDefaults" | "allDefaults" | "onChange"> => ({
  async defaultsOf(ownerId) {
    const [row] = await answer(
      sql,
      sql<{ lifecycle: Lifecycle; revision: number }[]>`
        SELECT lifecycle, revision FROM storage_defaults WHERE owner_id = ${storableText(ownerId)}`,
    );
    return row ? { value: row.lifecycle, revision: row.revision } : { value: {}, revision: 0 };
  },

  async setDefaults(ownerId, defaults, revision) {
    const text = sql`${writeJson(defaults)}::text::json`;
    const insert = sql`
      INSERT INTO storage_defaults (owner_id, lifecycle, revision)
      VALUES (${storableText(ownerId)}, ${text}, 1)`;
    const [row] = await answer(
      sql,
      revision === 0
        ? sql<{ revision: number }[]>`${insert} ON CONFLICT DO NOTHING RETURNING revision`
        : revision === undefined
          ? sql<{ revision: number }[]>`
              ${insert} ON CONFLICT (owner_id) DO UPDATE
                SET lifecycle = excluded.lifecycle, revision = storage_defaults.revision + 1
              RETURNING revision`
          : sql<{ revision: number }[]>`
              UPDATE storage_defaults SET lifecycle = ${text}, revision = revision + 1
              WHERE owner_id = ${storableText(ownerId)} AND revision::bigint = ${revision}
              RETURNING revision`,
    );
    if (!row) throw new TemperaError("precondition_failed");
    return { value: defaults, revision: row.revision };
  },

  async allDefaults() {
    const rows = await answer(
      sql,
      sql<{ owner_id: string; lifecycle: Lifecycle }[]>`SELECT owner_id, lifecycle FROM storage_defaults`,
    );
    return new Map(rows.map(({ owner_id, lifecycle }) => [owner_id, lifecycle]));
  },

  async onChange(listener) {
    const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener, listener));
    return unlisten;
  },
});
