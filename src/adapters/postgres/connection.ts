import { isIP } from "node:net";
import postgres from "postgres";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";

export type Sql = postgres.Sql;

/** Longest wait for a connection: an outage is an answer in two seconds, not a hang. */
const CONNECT_SECONDS = 2;

/**
 * Longest wait for an answer, queueing for a connection included: a frozen server must not hold its callers.
 */
const ANSWER_MS = 5_000;

/**
 * Pause before a connection is tried again, in seconds. The driver's own grows to 20, and queries wait that
 * long with it.
 */
const backoffSeconds = (attempts: number): number => Math.min(0.1 * attempts, 0.5);

/**
 * Opens a pool of at most `maxConnections` connections. Nothing is connected before the first query; lost
 * connections are opened again by the next one.
 */
export const connectPostgres = (
  databaseUrl: string,
  { maxConnections, tls }: { maxConnections: number; tls?: ServiceTls | undefined },
): Sql =>
  postgres(databaseUrl, {
    max: maxConnections,
    connect_timeout: CONNECT_SECONDS,
    backoff: backoffSeconds,
    idle_timeout: 300,
    onnotice: () => {},
    connection: { application_name: "tempera" },
    ...(tls && { ssl: sslOf(databaseUrl, tls) }),
  });

/**
 * The certificate must carry the name that is asked for, else the host of the address; the driver leaves
 * addresses of numbers out.
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

/** `host:port/database` of a URL, for messages: no user, no password. */
export function databaseName(databaseUrl: string): string {
  const { hostname, port, pathname } = new URL(databaseUrl);
  return `${hostname}:${port || 5432}${pathname}`;
}

/** What a column of text can hold: PostgreSQL has no NUL in it. JSON columns keep theirs, escaped. */
export const storableText = (text: string): string => text.replaceAll("\u0000", "\ufffd");

/**
 * What a failed query means. SQLSTATE 08, 28, 3D, 53, 57P and 25006 are a server that is away, refuses us,
 * lacks the database, is full, is stopping, or only answers reads; the driver's own codes and the system's
 * are a connection that broke. Anything else is a fault of ours and passes through.
 */
const AWAY =
  /^(08|28|3D|53|57P|25006|CONNECT|ECONN|EPIPE|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH)/;

/**
 * Passes a query's answer through; a server that cannot be used, or stays silent, becomes
 * `store_unavailable`.
 */
export async function answer<T>(sql: Sql, query: PromiseLike<T>): Promise<T> {
  let silence: NodeJS.Timeout | undefined;
  const silent = new Promise<never>((_, reject) => {
    silence = setTimeout(
      // After a stall of this process the answer may be here already, unread: one turn of the loop lets it
      // win.
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
    const { host, port } = sql.options;
    throw new TemperaError(
      "store_unavailable",
      `PostgreSQL at ${host[0]}:${port[0]} cannot be used (${message}); start it, or correct DATABASE_URL.`,
      { cause: error },
    );
  } finally {
    clearTimeout(silence);
  }
}
