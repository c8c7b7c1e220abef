import type { ConnectionOptions } from "node:tls";
import { Redis } from "ioredis";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { ServiceTls } from "../../core/operations/service-tls.ts";

export interface RedisConnection {
  client: Redis;
  /**
   * Awaits a command; rejects with `store_unavailable` when it fails, or at the latest after the time one
   * answer may take.
   */
  answer<T>(command: Promise<T>): Promise<T>;
  unavailable(why: string, cause?: unknown): TemperaError;
}

export interface RedisConnectionOptions {
  /** `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS. */
  url: string;
  /** With which certificates; an address with `rediss://` speaks TLS without any. */
  tls?: ServiceTls | undefined;
  /** Longest wait for one answer, reconnecting included. */
  answerMs: number;
  /** Told when the connection is lost and when it is back, once each. */
  log?: ((line: string) => void) | undefined;
}

/** Silence on a socket with commands under way after which it is given up and a new one is opened. */
const SOCKET_SILENCE_MS = 3_000;

/**
 * A connection that comes back by itself and never makes a caller wait for it: while Redis is away, every
 * command is rejected with the next failed attempt to reconnect (a quarter of a second apart), or after
 * `answerMs` when Redis is frozen.
 */
export function connectRedis(options: RedisConnectionOptions): RedisConnection {
  const where = hostOf(options.url);
  const client = new Redis(options.url, {
    ...(options.tls && { tls: tlsOf(options.tls) }),
    enableAutoPipelining: true,
    // In-flight commands fail with their connection. Sent again, an append whose reply was lost would be
    // there twice.
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // Subscriptions are renewed by their owner, who knows which are still wanted.
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
    });

  const failed = (error: unknown) => {
    const text = error instanceof Error ? error.message : String(error);
    // "Reached the max retries per request limit" says nothing; the error of the attempt does.
    const root = lost && lastError instanceof Error ? lastError.message : text;
    return unavailable(`cannot be used: ${root || text}`, error);
  };

  return {
    client,
    unavailable,
    answer: (command) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          // After a stall of this process the reply may be here already, unread: one turn of the loop lets it
          // win.
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

const tlsOf = ({ serverName, ...files }: ServiceTls): ConnectionOptions => ({
  ...files,
  ...(serverName !== undefined && { servername: serverName }),
});

/** `host:port` of a URL, for messages: no user, no password. */
function hostOf(url: string): string {
  const { hostname, port } = new URL(url);
  return `${hostname}:${port || 6379}`;
}
