import type { RegistryChanges } from "../../../core/models/registry-changes.ts";
import { answer, type Sql } from "../connection.ts";

/** The channel of the triggers in the migration that made the tables. */
const CHANNEL = "registry_changed";

/**
 * What has changed in the registry, in Postgres. A part's mark is the number and the sum of its rows'
 * revisions, which never come twice.
 */
export const createRegistryChanges = (sql: Sql): RegistryChanges => ({
  async marks() {
    const [row] = await answer(
      sql,
      sql<{ versions: string; rollouts: string; flags: string }[]>`
        SELECT (SELECT count(*) || '/' || coalesce(sum(revision), 0) FROM model_versions) AS versions,
               (SELECT count(*) || '/' || coalesce(sum(revision), 0) FROM rollouts) AS rollouts,
               (SELECT count(*) || '/' || coalesce(sum(revision), 0) FROM flags) AS flags`,
    );
    return row ?? { versions: "", rollouts: "", flags: "" };
  },

  async onChange(listener) {
    // The driver keeps a connection of its own for this. When that was lost, it listens again and calls the
    // third argument.
    const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener, listener));
    return unlisten;
  },
});
