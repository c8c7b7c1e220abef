import type { RegistryChanges } from "../../../core/models/registry-changes.ts";
import { answer, type Sql } from "../connection.ts";

/** The channel that the tables' triggers notify. */
const CHANNEL = "registry_changed";

/**
 * Creates the PostgreSQL source of registry changes. A part's mark is the count of its rows and the sum of
 * their revisions, a pair that never repeats.
 */
export function createRegistryChanges(sql: Sql): RegistryChanges {
  return {
    async revisions() {
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
      // The driver uses a connection of its own for this. When that was lost, it subscribes again and calls
      // the third argument.
      const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener, listener));
      return unlisten;
    },
  };
}
