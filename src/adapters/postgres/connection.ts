import postgres from "postgres";
import { TemperaError } from "../../core/errors/tempera-error.ts";

export type Sql = postgres.Sql;

/** Longest wait for a connection: an outage is an answer in two seconds, not a hang. */
const CONNECT_SECONDS = 2;

/**
 * Opens a pool of at most `maxConnections` connections. Nothing is connected before the first query; lost connections are
 * opened again by the next one.
 */
export const connectPostgres = (databaseUrl: string, { maxConnections }: { maxConnections: number }): Sql =>
  postgres(databaseUrl, {
    max: maxConnections,
    connect_timeout: CONNECT_SECONDS,
    idle_timeout: 300,
    onnotice: () => {},
    connection: { application_name: "tempera" },
  });

/** `host:port/database` of a URL, for messages: no user, no password. */
export function databaseName(databaseUrl: string): string {
  const { hostname, port, pathname } = new URL(databaseUrl);
  return `${hostname}:${port || 5432}${pathname}`;
}

/**
 * What a failed query means. SQLSTATE 08, 53 and 57 are a server that is away, full or stopping; the driver's own codes and
 * the system's are a connection that broke. Anything else is a fault of ours and passes through.
 */
const AWAY = /^(08|53|57P|CONNECT|ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)/;

/** Passes a query's answer through; a server that cannot be used becomes `store_unavailable`. */
export async function answer<T>(sql: Sql, query: PromiseLike<T>): Promise<T> {
  try {
    return await query;
  } catch (error) {
    const { code, message } = error as { code?: string; message?: string };
    if (typeof code !== "string" || !AWAY.test(code)) throw error;
    const { host, port } = sql.options;
    throw new TemperaError(
      "store_unavailable",
      `PostgreSQL at ${host[0]}:${port[0]} cannot be used (${message}); start it, or correct DATABASE_URL.`,
      { cause: error },
    );
  }
}
