import type { EngineOnWorker, EngineStatus } from "../../../core/engines/engine-status.ts";
import { LIMITS } from "../../../core/limits.ts";
import type { EngineBoard } from "../../../core/engines/engine-status-store.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel of the trigger in the migration that made the tables. Its payload is the worker's name. */
const CHANNEL = "engine_resets";

/** In the table of drains: everything of a worker. */
const ALL = "*";

interface EngineRow {
  worker: string;
  endpoint: string;
  version: string;
  device: string;
  budget_mib: number;
  state: EngineStatus["state"];
  polled: boolean;
  pid: number | null;
  memory_mib: number | null;
  running: number;
  waiting: number;
  failures: number;
  last_failure: string | null;
  age_ms: number;
  drained: boolean;
}

const engineOf = (row: EngineRow): EngineOnWorker => ({
  worker: row.worker,
  device: row.device,
  budgetMiB: row.budget_mib,
  endpoint: row.endpoint,
  version: row.version,
  state: row.state,
  polled: row.polled,
  running: row.running,
  waiting: row.waiting,
  failures: row.failures,
  ageMs: row.age_ms,
  drained: row.drained,
  ...(row.pid !== null && { pid: row.pid }),
  ...(row.memory_mib !== null && { memoryMiB: row.memory_mib }),
  ...(row.last_failure !== null && { lastFailure: row.last_failure }),
});

/** The engines of all GPU workers, in Postgres, by whose clock their age is told. */
export const createEngineStatusStore = (sql: Sql): EngineBoard => ({
  async report({ worker, device, budgetMiB }, engines) {
    const rows = engines.map((engine) => ({
      worker: storableText(worker),
      endpoint: engine.endpoint,
      version: engine.version,
      device,
      budget_mib: budgetMiB,
      state: engine.state,
      polled: engine.polled,
      pid: engine.pid ?? null,
      memory_mib: engine.memoryMiB ?? null,
      running: engine.running,
      waiting: engine.waiting,
      failures: engine.failures,
      last_failure:
        engine.lastFailure === undefined
          ? null
          : storableText(engine.lastFailure).slice(0, LIMITS.logLineBytesMax),
    }));
    await answer(
      sql,
      sql.begin((both) => [
        both`
          DELETE FROM engines WHERE worker = ${storableText(worker)}
          OR reported_at < now() - ${LIMITS.engineReportKeptMs} * interval '1 millisecond'`,
        ...(rows.length === 0
          ? []
          : [
              both`
                INSERT INTO engines SELECT worker, endpoint, version, device, budget_mib, state, polled, pid, memory_mib, running, waiting,
                  failures, last_failure, now() FROM jsonb_populate_recordset(NULL::engines, ${both.json(rows)})
                ON CONFLICT DO NOTHING`,
            ]),
      ]),
    );
  },

  async leave(worker) {
    await answer(
      sql,
      sql.begin((all) => [
        all`DELETE FROM engines WHERE worker = ${storableText(worker)}`,
        all`DELETE FROM engine_resets WHERE worker = ${storableText(worker)}`,
      ]),
    );
  },

  async list() {
    const rows = await answer(
      sql,
      sql<EngineRow[]>`
        SELECT *, round(extract(epoch FROM now() - reported_at) * 1000)::float8 AS age_ms,
          EXISTS (SELECT FROM engine_drains d WHERE d.worker = engines.worker
                  AND (d.endpoint = ${ALL} OR (d.endpoint, d.version) = (engines.endpoint, engines.version))) AS drained
        FROM engines
        WHERE reported_at >= now() - ${LIMITS.engineReportKeptMs} * interval '1 millisecond' ORDER BY endpoint, version, worker`,
    );
    return rows.map(engineOf);
  },

  async askReset({ endpoint, version, worker }) {
    const rows = await answer(
      sql,
      sql<{ worker: string; version: string }[]>`
        WITH meant AS (
          SELECT worker, endpoint, version FROM engines WHERE endpoint = ${storableText(endpoint)}
          AND reported_at >= now() - ${LIMITS.engineReportSilenceMs} * interval '1 millisecond'
          ${version === undefined ? sql`` : sql`AND version = ${storableText(version)}`}
          ${worker === undefined ? sql`` : sql`AND worker = ${storableText(worker)}`}
        ), asked AS (INSERT INTO engine_resets SELECT * FROM meant ON CONFLICT DO NOTHING)
        SELECT worker, version FROM meant ORDER BY worker, version`,
    );
    return rows.map(({ worker: name, version: which }) => ({ worker: name, version: which }));
  },

  async drain({ endpoint, version, worker }, on) {
    // Those that are alive are asked to; whoever was asked is asked back, alive or not.
    const meant = sql`
      SELECT worker, endpoint, version FROM ${on ? sql`engines` : sql`engine_drains`} WHERE endpoint = ${storableText(endpoint)}
      ${on ? sql`AND reported_at >= now() - ${LIMITS.engineReportSilenceMs} * interval '1 millisecond'` : sql``}
      ${version === undefined ? sql`` : sql`AND version = ${storableText(version)}`}
      ${worker === undefined ? sql`` : sql`AND worker = ${storableText(worker)}`}`;
    const rows = await answer(
      sql,
      sql<{ worker: string; version: string }[]>`
        WITH meant AS (${meant}), changed AS (
          ${
            on
              ? sql`INSERT INTO engine_drains SELECT * FROM meant ON CONFLICT DO NOTHING`
              : sql`DELETE FROM engine_drains d USING meant m
                    WHERE (d.worker, d.endpoint, d.version) = (m.worker, m.endpoint, m.version)`
          }
        )
        SELECT worker, version FROM meant ORDER BY worker, version`,
    );
    return rows.map(({ worker: name, version: which }) => ({ worker: name, version: which }));
  },

  async drainWorker(worker, on) {
    const name = storableText(worker);
    const { count } = await answer(
      sql,
      on
        ? sql`INSERT INTO engine_drains SELECT DISTINCT worker, ${ALL}, ${ALL} FROM engines WHERE worker = ${name}
              ON CONFLICT (worker, endpoint, version) DO UPDATE SET endpoint = excluded.endpoint`
        : sql`DELETE FROM engine_drains WHERE worker = ${name}`,
    );
    return count > 0;
  },

  async drained(worker) {
    const rows = await answer(
      sql,
      sql<
        { endpoint: string; version: string }[]
      >`SELECT endpoint, version FROM engine_drains WHERE worker = ${storableText(worker)}`,
    );
    return {
      all: rows.some(({ endpoint }) => endpoint === ALL),
      models: rows
        .filter(({ endpoint }) => endpoint !== ALL)
        .map(({ endpoint, version }) => ({ endpoint, version })),
    };
  },

  async takeResets(worker) {
    const rows = await answer(
      sql,
      sql<{ endpoint: string; version: string }[]>`
        DELETE FROM engine_resets WHERE worker = ${storableText(worker)} RETURNING endpoint, version`,
    );
    return rows.map(({ endpoint, version }) => ({ endpoint, version }));
  },

  async onReset(worker, listener) {
    // What was asked while the driver's connection for this was lost is found at the worker's next report.
    const { unlisten } = await answer(
      sql,
      sql.listen(CHANNEL, (name) => {
        if (name === worker) listener();
      }),
    );
    return unlisten;
  },
});
