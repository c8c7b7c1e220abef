import type { EngineOnWorker, EngineStatus, WorkerStatus } from "../../../core/engines/engine-status.ts";
import type { EngineStatusStore } from "../../../core/engines/engine-status-store.ts";
import { LIMITS } from "../../../core/limits.ts";
import { answer, type Sql, storableText } from "../connection.ts";

/** The channel that the tables' trigger notifies. Its payload is the worker's name. */
const CHANNEL = "engine_resets";

/** Stands for every endpoint and version of a worker in the table of drains. */
const ALL = "*";

/** States as the column has them: `out` is `unhealthy`. */
type StoredState = Exclude<EngineStatus["state"], "unhealthy"> | "out";

interface EngineRow {
  worker: string;
  endpoint: string;
  version: string;
  device: string;
  budget_mib: number;
  state: StoredState;
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
  state: row.state === "out" ? "unhealthy" : row.state,
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

interface NamedVersion {
  worker: string;
  version: string;
}

/** Creates the PostgreSQL store of engine status. Ages are measured by the clock of the database. */
export function createEngineStatusStore(sql: Sql): EngineStatusStore {
  return { ...reports(sql), ...resets(sql), ...drains(sql) };
}

const millisecondsAgo = (sql: Sql, ms: number) => sql`now() - ${ms} * interval '1 millisecond'`;

const reports = (sql: Sql): Pick<EngineStatusStore, "report" | "remove" | "list"> => ({
  async report(worker, engines) {
    const rows = engines.map((engine) => rowOf(worker, engine));
    await answer(
      sql,
      sql.begin((tx) => [
        tx`
          DELETE FROM engines WHERE worker = ${storableText(worker.worker)}
          OR reported_at < ${millisecondsAgo(sql, LIMITS.engineReportKeptMs)}`,
        ...(rows.length === 0
          ? []
          : [
              tx`
                INSERT INTO engines
                SELECT worker, endpoint, version, device, budget_mib, state, polled, pid, memory_mib, running,
                       waiting, failures, last_failure, now()
                FROM jsonb_populate_recordset(NULL::engines, ${tx.json(rows)})
                ON CONFLICT DO NOTHING`,
            ]),
      ]),
    );
  },

  async remove(worker) {
    await answer(
      sql,
      sql.begin((tx) => [
        tx`DELETE FROM engines WHERE worker = ${storableText(worker)}`,
        tx`DELETE FROM engine_resets WHERE worker = ${storableText(worker)}`,
      ]),
    );
  },

  async list() {
    const rows = await answer(
      sql,
      sql<EngineRow[]>`
        SELECT *, round(extract(epoch FROM now() - reported_at) * 1000)::float8 AS age_ms,
          EXISTS (SELECT FROM engine_drains d WHERE d.worker = engines.worker
                  AND (d.endpoint = ${ALL} OR (d.endpoint, d.version) = (engines.endpoint, engines.version))
          ) AS drained
        FROM engines WHERE reported_at >= ${millisecondsAgo(sql, LIMITS.engineReportKeptMs)}
        ORDER BY endpoint, version, worker`,
    );
    return rows.map(engineOf);
  },
});

const rowOf = ({ worker, device, budgetMiB }: WorkerStatus, engine: EngineStatus) => ({
  worker: storableText(worker),
  endpoint: engine.endpoint,
  version: engine.version,
  device,
  budget_mib: budgetMiB,
  state: (engine.state === "unhealthy" ? "out" : engine.state) satisfies StoredState,
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
});

const isAlive = (sql: Sql) => sql`AND reported_at >= ${millisecondsAgo(sql, LIMITS.engineReportSilenceMs)}`;

const hasVersionAndWorker = (sql: Sql, { version, worker }: { version?: string; worker?: string }) => sql`
  ${version === undefined ? sql`` : sql`AND version = ${storableText(version)}`}
  ${worker === undefined ? sql`` : sql`AND worker = ${storableText(worker)}`}`;

const resets = (sql: Sql): Pick<EngineStatusStore, "requestReset" | "takeResets" | "onReset"> => ({
  async requestReset(of) {
    const rows = await answer(
      sql,
      sql<NamedVersion[]>`
        WITH meant AS (
          SELECT worker, endpoint, version FROM engines
          WHERE endpoint = ${storableText(of.endpoint)} ${isAlive(sql)} ${hasVersionAndWorker(sql, of)}
        ), requested AS (INSERT INTO engine_resets SELECT * FROM meant ON CONFLICT DO NOTHING),
        forgotten AS (DELETE FROM engine_crashes c USING meant
          WHERE (c.endpoint, c.version) = (meant.endpoint, meant.version)),
        noted AS (INSERT INTO engine_amnesties
          SELECT endpoint, version, clock_timestamp() FROM meant GROUP BY endpoint, version
          ON CONFLICT (endpoint, version) DO UPDATE SET reset_at = excluded.reset_at)
        SELECT worker, version FROM meant ORDER BY worker, version`,
    );
    return rows.map(({ worker, version }) => ({ worker, version }));
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
    // A reset requested while the driver's connection was lost is found at the worker's next report.
    const { unlisten } = await answer(
      sql,
      sql.listen(CHANNEL, (name) => {
        if (name === worker) listener();
      }),
    );
    return unlisten;
  },
});

const drains = (sql: Sql): Pick<EngineStatusStore, "drain" | "drainWorker" | "drained"> => ({
  async drain(of, on) {
    // A drain applies to workers that are alive. It is taken back from every worker that has it, alive or
    // not.
    const meant = sql`
      SELECT worker, endpoint, version FROM ${on ? sql`engines` : sql`engine_drains`}
      WHERE endpoint = ${storableText(of.endpoint)} ${on ? isAlive(sql) : sql``}
      ${hasVersionAndWorker(sql, of)}`;
    const change = on
      ? sql`INSERT INTO engine_drains SELECT * FROM meant ON CONFLICT DO NOTHING`
      : sql`DELETE FROM engine_drains d USING meant m
            WHERE (d.worker, d.endpoint, d.version) = (m.worker, m.endpoint, m.version)`;
    const rows = await answer(
      sql,
      sql<NamedVersion[]>`
        WITH meant AS (${meant}), changed AS (${change})
        SELECT worker, version FROM meant ORDER BY worker, version`,
    );
    return rows.map(({ worker, version }) => ({ worker, version }));
  },

  async drainWorker(worker, on) {
    const name = storableText(worker);
    const { count } = await answer(
      sql,
      on
        ? sql`INSERT INTO engine_drains
              SELECT DISTINCT worker, ${ALL}, ${ALL} FROM engines WHERE worker = ${name}
              ON CONFLICT (worker, endpoint, version) DO UPDATE SET endpoint = excluded.endpoint`
        : sql`DELETE FROM engine_drains WHERE worker = ${name}`,
    );
    return count > 0;
  },

  async drained(worker) {
    const rows = await answer(
      sql,
      sql<{ endpoint: string; version: string }[]>`
        SELECT endpoint, version FROM engine_drains WHERE worker = ${storableText(worker)}`,
    );
    return {
      all: rows.some(({ endpoint }) => endpoint === ALL),
      models: rows
        .filter(({ endpoint }) => endpoint !== ALL)
        .map(({ endpoint, version }) => ({ endpoint, version })),
    };
  },
});
