import { writeJson } from "../../../core/json/exact-json.ts";
import type { JsonObject, Stored } from "../../../core/json/json.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { NodeClaim, NodeResult, NodeResultStore } from "../../../core/pipelines/node-result-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel that the table's triggers notify. Its payload is the key. */
const CHANNEL = "node_results_settled";

interface ResultRow {
  request_id: string;
  output: Stored<JsonObject> | null;
  files: string[];
}

const resultOf = ({ request_id, output, files }: ResultRow): NodeResult | undefined =>
  output ? { requestId: request_id, output, files } : undefined;

/** Creates the PostgreSQL store of node results. Its clock decides how long a claim is held. */
export function createNodeResultStore(sql: Sql): NodeResultStore {
  return { ...claims(sql), ...results(sql) };
}

const until = (sql: Sql, ms: number) => sql`now() + ${ms} * interval '1 millisecond'`;

const claims = (sql: Sql): Pick<NodeResultStore, "findOrClaim" | "renew" | "store" | "release"> => ({
  async findOrClaim(claim, leaseMs) {
    const [row] = await answer(sql, findOrClaimStatement(sql, claim, leaseMs));
    const result = row && resultOf(row);
    if (result) return { state: "made", result };
    return { state: row?.claimed ? "claimed" : "busy" };
  },

  async renew({ key, requestId }, leaseMs) {
    await answer(
      sql,
      sql`UPDATE node_results SET claimed_until = ${until(sql, leaseMs)}
          WHERE key = ${key} AND request_id = ${requestId} AND output IS NULL`,
    );
  },

  async store({ key, requestId }, { output, files }, expiresAtMs) {
    await answer(
      sql,
      sql`UPDATE node_results SET output = ${writeJson(output)}::text::json, files = ${files},
                                  expires_at = ${new Date(expiresAtMs)}, claimed_until = NULL
          WHERE key = ${key} AND request_id = ${requestId} AND output IS NULL`,
    );
  },

  async release({ key, requestId }) {
    await answer(
      sql,
      sql`DELETE FROM node_results WHERE key = ${key} AND request_id = ${requestId} AND output IS NULL`,
    );
  },
});

/** An existing result is only read: looking for it first spares its row a lock. */
function findOrClaimStatement(
  sql: Sql,
  { key, ownerId, endpoint, version, requestId }: NodeClaim,
  leaseMs: number,
) {
  return sql<(ResultRow & { claimed: boolean })[]>`
    WITH made AS (
      SELECT request_id, output, files FROM node_results
      WHERE key = ${key} AND output IS NOT NULL AND expires_at > now()
    ), claimed AS (
      INSERT INTO node_results AS existing (key, owner_id, endpoint, version, request_id, claimed_until)
      SELECT ${key}, ${storableText(ownerId)}, ${storableText(endpoint)}, ${storableText(version)},
             ${requestId}::uuid, ${until(sql, leaseMs)}
      WHERE NOT EXISTS (SELECT FROM made)
      ON CONFLICT (key) DO UPDATE
        SET request_id = excluded.request_id, claimed_until = excluded.claimed_until, output = NULL,
            files = '{}', expires_at = NULL, awaited = false
        WHERE existing.expires_at <= now()
           OR (existing.output IS NULL
               AND (existing.request_id = excluded.request_id OR existing.claimed_until <= now()))
      RETURNING request_id
    ), awaited AS (
      UPDATE node_results SET awaited = true
      WHERE key = ${key} AND output IS NULL AND NOT awaited AND NOT EXISTS (SELECT FROM claimed)
    )
    SELECT request_id, output, files, false AS claimed FROM made
    UNION ALL SELECT request_id, NULL, '{}', true FROM claimed`;
}

const results = (
  sql: Sql,
): Pick<NodeResultStore, "find" | "forget" | "forgetMadeBy" | "sweep" | "onSettled"> => ({
  async find(key) {
    const [row] = await answer(
      sql,
      sql<ResultRow[]>`
        SELECT request_id, output, files FROM node_results WHERE key = ${key} AND expires_at > now()`,
    );
    return row && resultOf(row);
  },

  async forget(key, requestId) {
    await answer(
      sql,
      sql`DELETE FROM node_results WHERE key = ${key} AND request_id = ${requestId} AND output IS NOT NULL`,
    );
  },

  async forgetMadeBy(requestId) {
    await answer(sql, sql`DELETE FROM node_results WHERE request_id = ${requestId} AND output IS NOT NULL`);
  },

  async sweep(nowMs) {
    const { count } = await answer(
      sql,
      sql`DELETE FROM node_results WHERE expires_at <= ${new Date(nowMs)}
          OR claimed_until <= now() - ${LIMITS.nodeClaimKeptMs} * interval '1 millisecond'`,
    );
    return count;
  },

  async onSettled(listener) {
    const { unlisten } = await answer(sql, sql.listen(CHANNEL, listener));
    return unlisten;
  },
});
