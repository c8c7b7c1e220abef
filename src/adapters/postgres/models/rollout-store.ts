import { CATALOGUE, type ErrorCode } from "../../../core/errors/catalogue.ts";
import { TemperaError } from "../../../core/errors/tempera-error.ts";
import { writeJson } from "../../../core/json/exact-json.ts";
import { newestFirst } from "../../../core/models/published-version.ts";
import type { Rollout, RolloutRules, RolloutState } from "../../../core/models/rollout.ts";
import type { RolloutStore } from "../../../core/models/rollout-store.ts";
import { answer, inTransaction, type Sql, storableText } from "../connection.ts";

interface RolloutRow {
  rollout_id: string;
  endpoint: string;
  from_version: string;
  to_version: string;
  share: number;
  state: RolloutState;
  rules: RolloutRules | null;
  reason: string | null;
  started_by: string;
  started_at: Date;
  changed_at: Date;
  revision: string;
}

const rolloutOf = (row: RolloutRow): Rollout => ({
  rolloutId: row.rollout_id,
  endpoint: row.endpoint,
  fromVersion: row.from_version,
  toVersion: row.to_version,
  share: row.share,
  state: row.state,
  ...(row.rules && { rules: row.rules }),
  ...(row.reason !== null && { reason: row.reason }),
  startedBy: row.started_by,
  startedAtMs: row.started_at.getTime(),
  changedAtMs: row.changed_at.getTime(),
  revision: Number(row.revision),
});

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Errors that callers cause: they are no evidence about a version. */
const CALLER_ERRORS = (Object.keys(CATALOGUE) as ErrorCode[]).filter(
  (code) =>
    CATALOGUE[code].kind === "input" ||
    code.startsWith("client_") ||
    code === "startup_timeout" ||
    code === "bad_request",
);

/** Creates the PostgreSQL store of rollouts. */
export function createRolloutStore(sql: Sql): RolloutStore {
  return { ...changes(sql), ...observations(sql) };
}

/**
 * Reads a running rollout and keeps others from changing it until the transaction ends. Locks its endpoint's
 * versions first, as every transaction does. Rejects with `precondition_failed` when its revision is not
 * `revision`.
 */
async function lockRollout(
  tx: Sql,
  rolloutId: string,
  revision: number | undefined,
): Promise<RolloutRow | undefined> {
  if (!UUID.test(rolloutId)) return undefined;
  await tx`
    SELECT pg_advisory_xact_lock(hashtextextended('endpoint ' || endpoint, 0))
    FROM rollouts WHERE rollout_id = ${rolloutId}`;
  const [row] = await tx<RolloutRow[]>`
    SELECT * FROM rollouts WHERE rollout_id = ${rolloutId} AND state = 'running' FOR UPDATE`;
  if (row && revision !== undefined && revision !== Number(row.revision)) {
    throw new TemperaError(
      "precondition_failed",
      `The rollout of ${row.endpoint} ${row.to_version} was changed by somebody else: it is at ` +
        `${row.share} %, revision ${row.revision}. Read it again, then change it.`,
    );
  }
  return row;
}

/** Starts a rollout and enables its newer version, if the endpoint is as the caller saw it. */
async function start(tx: Sql, rollout: Parameters<RolloutStore["start"]>[0]): Promise<Rollout> {
  const { endpoint, fromVersion, fromFolder = false, toVersion, share, rules, startedBy } = rollout;
  await tx`SELECT pg_advisory_xact_lock(hashtextextended(${storableText(`endpoint ${endpoint}`)}, 0))`;
  const [running] = await tx<RolloutRow[]>`
    SELECT * FROM rollouts WHERE endpoint = ${storableText(endpoint)} AND state = 'running'`;
  if (running) {
    throw new TemperaError(
      "rollout_running",
      `${endpoint} has a rollout of ${running.to_version} already; promote it or roll it back first.`,
    );
  }
  // The caller saw what served a moment ago. Without the older version the newer one would serve all
  // requests instead of a share.
  const others = await tx<{ version: string }[]>`
    SELECT version FROM model_versions
    WHERE endpoint = ${storableText(endpoint)} AND version <> ${storableText(toVersion)}
      AND state = 'enabled'`;
  const [serves] = [...others.map(({ version }) => version), ...(fromFolder ? [fromVersion] : [])].sort(
    newestFirst,
  );
  if (serves !== fromVersion) {
    throw new TemperaError(
      "rollout_invalid",
      `${endpoint} was served by ${fromVersion}, and now by ${serves ?? "no other version"}. ` +
        "Read it again, then start the rollout.",
    );
  }
  const enabled = await tx`
    UPDATE model_versions SET state = 'enabled'
    WHERE endpoint = ${storableText(endpoint)} AND version = ${storableText(toVersion)}
      AND state <> 'removed'`;
  if (enabled.count === 0)
    throw new TemperaError(
      "version_unknown",
      `There is no version ${toVersion} of ${endpoint} that can be enabled.`,
    );
  const [row] = await tx<RolloutRow[]>`
    INSERT INTO rollouts (rollout_id, endpoint, from_version, to_version, share, state, rules, started_by)
    VALUES (gen_random_uuid(), ${endpoint}, ${fromVersion}, ${toVersion}, ${share}, 'running',
            ${rules ? writeJson(rules) : null}::text::json, ${storableText(startedBy)})
    RETURNING *`;
  return rolloutOf(row as RolloutRow);
}

const changes = (sql: Sql): Pick<RolloutStore, "start" | "setShare" | "end"> => ({
  start: (rollout) => inTransaction(sql, (tx) => start(tx, rollout)),

  setShare: (rolloutId, share, revision) =>
    inTransaction(sql, async (tx) => {
      const before = await lockRollout(tx, rolloutId, revision);
      if (!before) return undefined;
      const [after] = await tx<RolloutRow[]>`
        UPDATE rollouts SET share = ${share} WHERE rollout_id = ${rolloutId} RETURNING *`;
      return { before: rolloutOf(before), after: rolloutOf(after as RolloutRow) };
    }),

  end: (rolloutId, { state, reason }, revision) =>
    inTransaction(sql, async (tx) => {
      const before = await lockRollout(tx, rolloutId, revision);
      if (!before) return undefined;
      const [after] = await tx<RolloutRow[]>`
        UPDATE rollouts SET state = ${state}, reason = ${storableText(reason)}
        WHERE rollout_id = ${rolloutId} RETURNING *`;
      if (state === "rolled_back")
        await tx`
          UPDATE model_versions SET state = 'disabled'
          WHERE endpoint = ${before.endpoint} AND version = ${before.to_version}`;
      return { before: rolloutOf(before), after: rolloutOf(after as RolloutRow) };
    }),
});

const observations = (sql: Sql): Pick<RolloutStore, "list" | "due" | "record"> => ({
  async list() {
    const rows = await answer(
      sql,
      sql<RolloutRow[]>`
        (SELECT * FROM rollouts WHERE state = 'running')
        UNION ALL (SELECT * FROM rollouts WHERE state <> 'running' ORDER BY changed_at DESC LIMIT 100)
        ORDER BY started_at DESC, rollout_id`,
    );
    return rows.map(rolloutOf);
  },

  async due(everyMs) {
    const rows = await answer(
      sql,
      sql<RolloutRow[]>`
        UPDATE rollouts SET checked_at = now()
        WHERE rollout_id IN (
          SELECT rollout_id FROM rollouts
          WHERE state = 'running' AND rules IS NOT NULL
            AND checked_at <= now() - ${everyMs}::float8 * interval '1 ms'
          FOR UPDATE SKIP LOCKED)
        RETURNING *`,
    );
    return rows.map(rolloutOf);
  },

  async record(endpoint, version, sinceMs) {
    const [row] = await answer(
      sql,
      sql<{ ended: number; failed: number; p95_ms: number | null }[]>`
        SELECT count(*)::int AS ended,
               (count(*) FILTER (WHERE NOT ok))::int AS failed,
               percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM ended_at - started_at) * 1000)
                 FILTER (WHERE ok AND started_at IS NOT NULL) AS p95_ms
        FROM (
          SELECT (outcome->>'ok')::boolean AS ok, started_at, ended_at, outcome->'error'->>'code' AS code
          FROM requests
          WHERE endpoint = ${endpoint} AND version = ${version} AND ended_at >= ${new Date(sinceMs)}) AS done
        WHERE ok OR code <> ALL (${CALLER_ERRORS})`,
    );
    return {
      ended: row?.ended ?? 0,
      failed: row?.failed ?? 0,
      ...(row?.p95_ms !== null && row?.p95_ms !== undefined && { p95Ms: row.p95_ms }),
    };
  },
});
