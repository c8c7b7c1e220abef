import type { SlotRequest, ConcurrencySlotStore } from "../../../core/owners/concurrency-slot-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

interface Granted {
  request_id: string;
}
const idsOf = (rows: readonly Granted[]): string[] => rows.map(({ request_id }) => request_id);

/**
 * Places, in Postgres. A call is one statement: the functions of the migration that made the table take the
 * owner's lock and judge.
 */
export const createConcurrencySlotStore = (sql: Sql): ConcurrencySlotStore => {
  const enter = async ({ requestId, ownerId, priority }: SlotRequest, waits: boolean) => {
    const ids = idsOf(
      await answer(
        sql,
        sql<
          Granted[]
        >`SELECT enter_place(${requestId}, ${storableText(ownerId)}, ${priority}, ${waits}) AS request_id`,
      ),
    );
    return { mine: ids.includes(requestId), granted: ids.filter((id) => id !== requestId) };
  };
  return {
    // Whoever else had a turn come is told by the sweep: that is rare, since turns come when somebody leaves.
    take: async (seeker) => (await enter(seeker, false)).mine,
    enter: (seeker) => enter(seeker, true),

    async leave({ requestId, ownerId }) {
      // When nobody's turn has come, the disk is not waited for with the owner's lock held: a leave that a
      // crash of the database loses is a place of a job that is over, which is given back with the other lost
      // ones.
      const rows = await answer(
        sql,
        sql<{ request_id: string | null }[]>`
          WITH granted AS MATERIALIZED (
            SELECT leave_place(${requestId}, ${storableText(ownerId)}) AS request_id
          ), commits AS MATERIALIZED (
            SELECT set_config('synchronous_commit',
                              CASE WHEN EXISTS (SELECT FROM granted) THEN current_setting('synchronous_commit') ELSE 'off' END, true)
          )
          SELECT request_id FROM commits LEFT JOIN granted ON true`,
      );
      return rows.flatMap(({ request_id }) => (request_id === null ? [] : [request_id]));
    },

    async told(requestIds) {
      if (requestIds.length > 0)
        await answer(sql, sql`UPDATE places SET told = true WHERE request_id = ANY(${requestIds}::uuid[])`);
    },

    async untold() {
      await answer(
        sql,
        sql`SELECT grant_places(owner_id) FROM (SELECT DISTINCT owner_id FROM places WHERE taken_at IS NULL) waiting`,
      );
      const rows = await answer(
        sql,
        sql<(Granted & { owner_id: string })[]>`
          SELECT request_id, owner_id FROM places
          WHERE taken_at < clock_timestamp() - interval '2 seconds' AND NOT told ORDER BY taken_at LIMIT 1000`,
      );
      return rows.map(({ request_id, owner_id }) => ({ requestId: request_id, ownerId: owner_id }));
    },

    async old(olderThanMs, afterTurn, limit) {
      const rows = await answer(
        sql,
        sql<(Granted & { owner_id: string; turn: string })[]>`
          SELECT request_id, owner_id, turn FROM places
          WHERE turn > ${afterTurn} AND taken_at < clock_timestamp() - make_interval(secs => ${olderThanMs / 1000})
          ORDER BY turn LIMIT ${limit}`,
      );
      return rows.map(({ request_id, owner_id, turn }) => ({
        requestId: request_id,
        ownerId: owner_id,
        turn: Number(turn),
      }));
    },
  };
};
