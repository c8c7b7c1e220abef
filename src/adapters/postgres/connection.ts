/**
 * The connection pool to PostgreSQL, and what all stores share: timeouts, transactions, error translation.
 */
import { isIP } from "node:net";
import postgres from "postgres";
import { READ_ONLY, storeFull } from "../../core/errors/store-failure.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";

export type Sql = postgres.Sql;

/** Longest wait for a connection: an outage is an answer in two seconds, not a hang. */
const CONNECT_SECONDS = 2;

/**
 * Longest wait for an answer, including the wait for a connection: a frozen server must not block callers.
 */
const ANSWER_MS = 5_000;

/**
 * Pause before the next attempt to connect, in seconds. The driver's default grows to 20 s, and queries wait
 * for it.
 */
const backoffSeconds = (attempts: number): number => Math.min(0.1 * attempts, 0.5);

/** Reads and writes columns of the types `json` (114) and `jsonb` (3802) without loss. */
const JSON_TYPES = {
  to: 114,
  from: [114, 3802],
  serialize: (value: unknown) => writeJson(value),
  parse: parseJson,
};

/**
 * Creates a pool of at most `maxConnections` connections. The first query opens the first connection; a lost
 * connection is opened again by the next query.
 */
export function connectPostgres(
  databaseUrl: string,
  { maxConnections, tls }: { maxConnections: number; tls?: ServiceTls | undefined },
): Sql {
  return postgres(databaseUrl, {
    max: maxConnections,
    connect_timeout: CONNECT_SECONDS,
    backoff: backoffSeconds,
    idle_timeout: 300,
    onnotice: () => {},
    connection: { application_name: "tempera" },
    types: { json: JSON_TYPES },
    ...(tls && { ssl: sslOf(databaseUrl, tls) }),
  });
}

/**
 * Returns the driver's TLS options. The certificate must carry `serverName`, or the host of the address where
 * that is a name: the driver checks no IP addresses.
 */
function sslOf(databaseUrl: string, { ca, cert, key, serverName }: ServiceTls): object {
  const host = new URL(databaseUrl).hostname.replace(/^\[|\]$/g, "");
  const name = serverName ?? (isIP(host) ? undefined : host);
  return {
    host,
    ...(name !== undefined && { servername: name }),
    ...(ca && { ca }),
    ...(cert && { cert }),
    ...(key && { key }),
  };
}

/** Returns `host:port/database` of a URL for messages, without user and password. */
export function databaseName(databaseUrl: string): string {
  const { hostname, port, pathname } = new URL(databaseUrl);
  return `${hostname}:${port || 5432}${pathname}`;
}

/** Replaces NUL, which a text column of PostgreSQL cannot hold. JSON columns store it escaped. */
export function storableText(text: string): string {
  return text.replaceAll("\u0000", "\ufffd");
}

/**
 * Error codes of a server that cannot be used. SQLSTATE 08, 28, 3D, 53, 57P and 25006: it is away, refuses
 * the login, lacks the database, is full, is stopping, or accepts only reads. The driver's and the system's
 * codes: the connection broke, or one side refused the other's certificate or proof of the password. Any
 * other error is a bug of ours and passes through.
 */
const AWAY = new RegExp(
  "^(08|28|3D|53|57P|25006|CONNECT|ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH" +
    "|CERT_|ERR_TLS|ERR_SSL|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|HOSTNAME_MISMATCH|SASL)",
);

/** The SQLSTATEs of a server that takes no writes. */
const FULL: Record<string, { fault: string; remedy: string }> = {
  "53100": { fault: "has no space left", remedy: "free space on its disk, or enlarge it" },
  "53200": { fault: "has no memory left", remedy: "give it more, or lower its settings of memory" },
  "25006": {
    fault: READ_ONLY,
    remedy: "end its read-only mode, or set DATABASE_URL to the primary server",
  },
};

/**
 * Awaits a query. Rejects with `store_full` when the server takes no writes, and with `store_unavailable`
 * when it cannot be used or does not answer within five seconds; any other error of the query passes through.
 */
export async function answer<T>(sql: Sql, query: PromiseLike<T>): Promise<T> {
  let silence: NodeJS.Timeout | undefined;
  const silent = new Promise<never>((_, reject) => {
    silence = setTimeout(
      // After a stall of this process the answer may have arrived unread: one iteration of the event loop
      // lets it win.
      () =>
        setImmediate(() =>
          reject(Object.assign(new Error(`no answer in ${ANSWER_MS} ms`), { code: "ETIMEDOUT" })),
        ),
      ANSWER_MS,
    );
  });
  try {
    return await Promise.race([query, silent]);
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    if (typeof code !== "string" || !AWAY.test(code)) throw error;
    const full = FULL[code];
    if (full) throw storeFull("PostgreSQL", `${full.fault} (${code})`, full.remedy, error);
    const { host, port } = sql.options;
    throw new TemperaError(
      "store_unavailable",
      `PostgreSQL at ${host[0]}:${port[0]} cannot be used (${message}); start it, or correct DATABASE_URL.`,
      { cause: error, store: "PostgreSQL" },
    );
  } finally {
    clearTimeout(silence);
  }
}

/**
 * Runs `work` in one transaction and commits it. When `work` rejects, the transaction is rolled back and the
 * error passes through.
 */
export function inTransaction<T>(sql: Sql, work: (tx: Sql) => Promise<T>): Promise<T> {
  return answer(sql, sql.begin((tx) => work(tx as unknown as Sql)) as Promise<T>);
}
