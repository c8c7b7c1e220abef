import type { ConcurrencySlotStore, SlotRequest } from "../../../core/owners/concurrency-slot-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface SlotRow {
  request_id: string;
  owner_id: string;
}

/**
 * Creates the PostgreSQL store of concurrency slots (table `places`). Each call is one statement: the
 * functions of the migration that made the table take the owner's lock and decide.
 */
export function createConcurrencySlotStore(sql: Sql): ConcurrencySlotStore {
  return { ...slots(sql), ...notifications(sql) };
}

const slots = (sql: Sql): Pick<ConcurrencySlotStore, "acquire" | "acquireOrWait" | "release"> => {
  const enter = async ({ requestId, ownerId, priority }: SlotRequest, waits: boolean) => {
    const rows = await answer(
      sql,
      sql<Pick<SlotRow, "request_id">[]>`
        SELECT enter_place(${requestId}, ${storableText(ownerId)}, ${priority}, ${waits}) AS request_id`,
    );
    const ids = rows.map(({ request_id }) => request_id);
    return { acquired: ids.includes(requestId), granted: ids.filter((id) => id !== requestId) };
  };
  return {
    // The sweep notifies others whose request was granted by this. It is rare: a release grants, mostly.
    acquire: async (request) => (await enter(request, false)).acquired,
    acquireOrWait: (request) => enter(request, true),

    async release({ requestId, ownerId }) {
      // When nobody is granted a slot, the commit does not wait for the disk while it holds the owner's lock.
      // A release that a crash of the database loses leaves the slot of a finished job, and those are
      // released by the sweep.
      const rows = await answer(
        sql,
        sql<{ request_id: string | null }[]>`
          WITH granted AS MATERIALIZED (
            SELECT leave_place(${requestId}, ${storableText(ownerId)}) AS request_id
          ), commits AS MATERIALIZED (
            SELECT set_config('synchronous_commit',
                              CASE WHEN EXISTS (SELECT FROM granted)
                                   THEN current_setting('synchronous_commit') ELSE 'off' END, true)
          )
          SELECT request_id FROM commits LEFT JOIN granted ON true`,
      );
      return rows.flatMap(({ request_id }) => (request_id === null ? [] : [request_id]));
    },
  };
};

const notifications = (
  sql: Sql,
): Pick<ConcurrencySlotStore, "markNotified" | "unnotified" | "heldSince"> => ({
  async markNotified(requestIds) {
    if (requestIds.length > 0)
      await answer(sql, sql`UPDATE places SET told = true WHERE request_id = ANY(${requestIds}::uuid[])`);
  },

  async unnotified() {
    await answer(
      sql,
      sql`SELECT grant_places(owner_id)
          FROM (SELECT DISTINCT owner_id FROM places WHERE taken_at IS NULL) waiting`,
    );
    const rows = await answer(
      sql,
      sql<SlotRow[]>`
        SELECT request_id, owner_id FROM places
        WHERE taken_at < clock_timestamp() - interval '2 seconds' AND NOT told ORDER BY taken_at LIMIT 1000`,
    );
    return rows.map(({ request_id, owner_id }) => ({ requestId: request_id, ownerId: owner_id }));
  },

  async heldSince(olderThanMs, afterPosition, limit) {
    const rows = await answer(
      sql,
      sql<(SlotRow & { turn: string })[]>`
        SELECT request_id, owner_id, turn FROM places
        WHERE turn > ${afterPosition}
          AND taken_at < clock_timestamp() - make_interval(secs => ${olderThanMs / 1000})
        ORDER BY turn LIMIT ${limit}`,
    );
    return rows.map(({ request_id, owner_id, turn }) => ({
      requestId: request_id,
      ownerId: owner_id,
      position: Number(turn),
    }));
  },
});
