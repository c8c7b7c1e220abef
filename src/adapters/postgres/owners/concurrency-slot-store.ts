import type {
  ConcurrencySlotStore,
  SlotHolder,
  SlotRequest,
} from "../../../core/owners/concurrency-slot-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface SlotRow {
  request_id: string;
  owner_id: string;
  workflow_id: string | null;
}

const holderOf = ({ request_id, owner_id, workflow_id }: SlotRow): SlotHolder => ({
  requestId: request_id,
  ownerId: owner_id,
  ...(workflow_id !== null && { workflowId: workflow_id }),
});

/**
 * Creates the PostgreSQL store of concurrency slots (table `places`). Each call is one statement: the
 * functions of the migration that made the table take the owner's lock and decide.
 */
export function createConcurrencySlotStore(sql: Sql): ConcurrencySlotStore {
  return { ...slots(sql), ...notifications(sql) };
}

const slots = (sql: Sql): Pick<ConcurrencySlotStore, "acquire" | "acquireOrWait" | "release"> => {
  const enter = async ({ requestId, ownerId, priority, workflowId }: SlotRequest, waits: boolean) => {
    const rows = await answer(
      sql,
      sql<SlotRow[]>`
        SELECT request_id, ${ownerId} AS owner_id, workflow_id
        FROM acquire_slot(${requestId}, ${storableText(ownerId)}, ${priority}, ${waits},
                          ${workflowId ?? null})`,
    );
    const isOwn = (row: SlotRow): boolean => row.request_id === requestId;
    return { acquired: rows.some(isOwn), granted: rows.filter((row) => !isOwn(row)).map(holderOf) };
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
        sql<(Omit<SlotRow, "request_id"> & { request_id: string | null })[]>`
          WITH granted AS MATERIALIZED (
            SELECT request_id, workflow_id FROM release_slot(${requestId}, ${storableText(ownerId)})
          ), commits AS MATERIALIZED (
            SELECT set_config('synchronous_commit',
                              CASE WHEN EXISTS (SELECT FROM granted)
                                   THEN current_setting('synchronous_commit') ELSE 'off' END, true)
          )
          SELECT request_id, ${ownerId} AS owner_id, workflow_id FROM commits LEFT JOIN granted ON true`,
      );
      return rows.flatMap(({ request_id, ...row }) =>
        request_id === null ? [] : [holderOf({ ...row, request_id })],
      );
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
      sql`SELECT grant_slots(owner_id)
          FROM (SELECT DISTINCT owner_id FROM places WHERE taken_at IS NULL) waiting`,
    );
    const rows = await answer(
      sql,
      sql<SlotRow[]>`
        SELECT request_id, owner_id, workflow_id FROM places
        WHERE taken_at < clock_timestamp() - interval '2 seconds' AND NOT told ORDER BY taken_at LIMIT 1000`,
    );
    return rows.map(holderOf);
  },

  async heldSince(olderThanMs, afterPosition, limit) {
    const rows = await answer(
      sql,
      sql<(SlotRow & { turn: string })[]>`
        SELECT request_id, owner_id, workflow_id, turn FROM places
        WHERE turn > ${afterPosition}
          AND taken_at < clock_timestamp() - make_interval(secs => ${olderThanMs / 1000})
        ORDER BY turn LIMIT ${limit}`,
    );
    return rows.map(({ turn, ...row }) => ({ ...holderOf(row), position: Number(turn) }));
  },
});
