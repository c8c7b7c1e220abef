import type { ConnectionOptions } from "node:tls";
import { Redis } from "ioredis";
import { READ_ONLY, storeFull } from "../../core/errors/store-failure.ts";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";

export interface RedisConnection {
  client: Redis;
  /**
   * Awaits a command. Rejects with `store_full` when Redis refuses writes, and with `store_unavailable` when
   * the command fails otherwise or takes longer than `answerMs`.
   */
  answer<T>(command: Promise<T>): Promise<T>;
  /** Creates a `store_unavailable` that names this Redis. @param why a predicate, "went away" */
  unavailable(why: string, cause?: unknown): TemperaError;
}

export interface RedisConnectionOptions {
  /** `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. */
  url: string;
  /** Certificates. An address with `rediss://` speaks TLS without any. */
  tls?: ServiceTls | undefined;
  /** Longest wait for one reply, reconnecting included, in milliseconds. */
  answerMs: number;
  /** Receives one sentence when the connection is lost, and one when it is back. */
  log?: ((message: string) => void) | undefined;
}

/** Silence on a socket with pending commands after which it is closed and a new one is opened. */
const SOCKET_SILENCE_MS = 3_000;

/** The error codes by which Redis refuses writes while it answers reads. */
const REFUSALS: Record<string, { fault: string; remedy: string }> = {
  OOM: { fault: "has no memory left", remedy: "raise its maxmemory, or free some" },
  MISCONF: { fault: "cannot save to its disk", remedy: "free space on its disk, or read its log" },
  READONLY: { fault: READ_ONLY, remedy: "set REDIS_URL to the primary server" },
  NOREPLICAS: { fault: "lacks replicas", remedy: "start them, or lower min-replicas-to-write" },
};

/** The code of a refusal; one in a script stands within the message. */
const REFUSED = new RegExp(`\\b(${Object.keys(REFUSALS).join("|")})\\b`);

/**
 * Opens a connection that reconnects by itself and never makes a caller wait for that. While Redis is away,
 * every command is rejected at the next failed attempt to reconnect (a quarter of a second apart), or after
 * `answerMs` when Redis hangs.
 */
export function connectRedis(options: RedisConnectionOptions): RedisConnection {
  const where = hostOf(options.url);
  const client = new Redis(options.url, {
    ...(options.tls && { tls: tlsOf(options.tls) }),
    enableAutoPipelining: true,
    // Pending commands fail with their connection. Sent again, an append whose reply was lost would be
    // applied twice.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // `createSubscriptions` renews subscriptions: it knows which are still wanted.
    autoResubscribe: false,
    retryStrategy: (times) => Math.min(25 * times, 250),
    connectTimeout: 2_000,
    socketTimeout: SOCKET_SILENCE_MS,
  });

  let lost = false;
  let lastError: unknown;
  client.on("error", (error: Error) => {
    lastError = error;
    if (!lost) options.log?.(`Redis at ${where} cannot be reached: ${error.message}`);
    lost = true;
  });
  client.on("ready", () => {
    if (lost) options.log?.(`Redis at ${where} is back`);
    lost = false;
  });

  const unavailable = (why: string, cause?: unknown) =>
    new TemperaError("store_unavailable", `Redis at ${where} ${why}. Start it, or correct REDIS_URL.`, {
      cause,
      store: "Redis",
    });

  const failed = (error: unknown) => {
    const text = sentenceOf(error);
    const [code = ""] = REFUSED.exec(text) ?? [];
    const refusal = REFUSALS[code];
    if (refusal) return storeFull("Redis", `${refusal.fault} (${code})`, refusal.remedy, error);
    // "Reached the max retries per request limit" explains nothing; the error of the attempt does.
    const root = lost && lastError instanceof Error ? lastError.message : text;
    return unavailable(`cannot be used: ${root || text}`, error);
  };

  return {
    client,
    unavailable,
    answer: (command) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          // After a stall of this process the reply may have arrived unread: one iteration of the event loop
          // lets it win.
          () => setImmediate(() => reject(unavailable(`has not answered in ${options.answerMs} ms`))),
          options.answerMs,
        );
        command.then(
          (value) => {
            clearTimeout(timer);
            resolve(value);
          },
          (error) => {
            clearTimeout(timer);
            reject(failed(error));
          },
        );
      }),
  };
}

/** Returns what Redis said. A transaction that it discards has the reasons beside its error. */
function sentenceOf(error: unknown): string {
  const { previousErrors = [] } = Object(error) as { previousErrors?: unknown[] };
  const [reason = error] = previousErrors;
  return reason instanceof Error ? reason.message : String(reason);
}

const tlsOf = ({ serverName, ...files }: ServiceTls): ConnectionOptions => ({
  ...files,
  ...(serverName !== undefined && { servername: serverName }),
});

/** Returns `host:port` of a URL for messages, without user and password. */
function hostOf(url: string): string {
  const { hostname, port } = new URL(url);
  return `${hostname}:${port || 6379}`;
}
