import type { CrashRecord } from "../../../core/engines/crash.ts";
import type { CrashStore, NewCrashRecord } from "../../../core/engines/crash-store.ts";
import { LIMITS } from "../../../core/limits.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel that the table's trigger notifies. */
const CHANNEL = "engine_crashes";

interface CrashRow {
  crash_id: string;
  endpoint: string;
  version: string;
  owner_id: string;
  input_digest: string;
  request_id: string;
  company: CrashRecord["company"];
  cleared: boolean;
  age_ms: number;
}

const recordOf = (row: CrashRow): CrashRecord => ({
  crashId: row.crash_id,
  endpoint: row.endpoint,
  version: row.version,
  ownerId: row.owner_id,
  inputDigest: row.input_digest,
  requestId: row.request_id,
  company: row.company,
  cleared: row.cleared,
  ageMs: row.age_ms,
});

/** Creates the PostgreSQL store of crash records. Ages are measured by the clock of the database. */
export function createCrashStore(sql: Sql): CrashStore {
  return {
    record: (records) => record(sql, records),

    async clear({ endpoint, version, ownerId, inputDigest }) {
      await answer(
        sql,
        sql`UPDATE engine_crashes SET cleared = true
            WHERE (endpoint, version, owner_id, input_digest)
                = (${endpoint}, ${version}, ${storableText(ownerId)}, ${inputDigest}) AND NOT cleared`,
      );
    },

    async forget({ endpoint, version, ownerId, inputDigest }) {
      const deleted = await answer(
        sql,
        sql`DELETE FROM engine_crashes
            WHERE (endpoint, version, owner_id)
                = (${storableText(endpoint)}, ${storableText(version)}, ${storableText(ownerId)})
            ${inputDigest === undefined ? sql`` : sql`AND input_digest = ${storableText(inputDigest)}`}`,
      );
      return deleted.count;
    },

    async list() {
      const rows = await answer(
        sql,
        sql<CrashRow[]>`
          SELECT *, (extract(epoch FROM clock_timestamp() - crashed_at) * 1000)::float8 AS age_ms
          FROM engine_crashes WHERE ${kept(sql)} ORDER BY crashed_at DESC LIMIT ${LIMITS.crashesListedMax}`,
      );
      return rows.map(recordOf);
    },

    async onChange(listener) {
      const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener, listener));
      return unlisten;
    },
  };
}

function kept(sql: Sql) {
  return sql`crashed_at > clock_timestamp() - ${LIMITS.crashKeptMs} * interval '1 millisecond'`;
}

async function record(sql: Sql, records: readonly NewCrashRecord[]): Promise<void> {
  if (records.length === 0) return;
  const rows = records.map(({ begunMsAgo, ...record }) => ({
    crash_id: record.crashId,
    endpoint: record.endpoint,
    version: record.version,
    owner_id: storableText(record.ownerId),
    input_digest: record.inputDigest,
    request_id: record.requestId,
    company: record.company,
    cleared: record.cleared,
    begun_ms_ago: begunMsAgo,
  }));
  await answer(
    sql,
    sql.begin((tx) => [
      tx`
        INSERT INTO engine_crashes
        SELECT crash_id, endpoint, version, owner_id, input_digest, request_id, company, cleared
        FROM jsonb_to_recordset(${tx.json(rows)}) AS r (crash_id uuid, endpoint text, version text,
          owner_id text, input_digest text, request_id text, company text, cleared boolean,
          begun_ms_ago float8)
        WHERE NOT EXISTS (
          SELECT FROM engine_amnesties a WHERE (a.endpoint, a.version) = (r.endpoint, r.version)
          AND a.reset_at > clock_timestamp() - r.begun_ms_ago * interval '1 millisecond')
        ON CONFLICT DO NOTHING`,
      tx`DELETE FROM engine_crashes WHERE NOT (${kept(sql)})`,
      tx`
        DELETE FROM engine_crashes c USING (
          SELECT endpoint, version, owner_id, crash_id, request_id, row_number() OVER (
            PARTITION BY endpoint, version, owner_id ORDER BY crashed_at DESC) AS number
          FROM engine_crashes WHERE owner_id = ANY (${rows.map(({ owner_id }) => owner_id)})
        ) old
        WHERE old.number > ${LIMITS.crashRecordsOfOwnerMax}
          AND (c.endpoint, c.version, c.owner_id, c.crash_id, c.request_id)
            = (old.endpoint, old.version, old.owner_id, old.crash_id, old.request_id)`,
    ]),
  );
}
