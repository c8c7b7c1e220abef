/**
 * The TLS listener: HTTP/2 and HTTP/1.1 on one port, as the client chooses in the handshake (ALPN). A browser
 * opens six connections to a host, so over HTTP/1.1 six open streams of events block its next call.
 */
import { type IncomingMessage, maxHeaderSize } from "node:http";
import {
  constants,
  createSecureServer,
  type Http2SecureServer,
  Http2ServerRequest,
  Http2ServerResponse,
  type SecureServerOptions,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { LIMITS } from "../../core/limits.ts";
import type { Log } from "../../core/operations/log.ts";
import { BoundedCall, BoundedHttp2Call } from "./connection-bounds.ts";

/** A certificate chain and its private key, as PEM. */
export interface Certificate {
  cert: string;
  key: string;
}

/** Times of a connection that speaks HTTP/1.1, in milliseconds. */
interface ConnectionTimes {
  headersTimeout: number;
  requestTimeout: number;
  keepAliveTimeout: number;
}

/** Milliseconds that a connection has for its TLS handshake. */
const HANDSHAKE_WITHIN_MS = 10_000;

/**
 * An answer over HTTP/2. A call whose body is left unread is ended by RST_STREAM without an error, after all
 * that was written: its caller reads the answer, and sends no more (RFC 9113 §8.1).
 */
class Answer extends Http2ServerResponse {
  // Node-server destroys such an answer as soon as its end is written, which would cut it for a slow reader.
  override destroy(error?: Error): this {
    if (error || !this.writableEnded) super.destroy(error);
    else this.stream.close(constants.NGHTTP2_NO_ERROR);
    return this;
  }
}

const OPTIONS = {
  allowHTTP1: true,
  Http1IncomingMessage: BoundedCall,
  Http2ServerRequest: BoundedHttp2Call,
  // Its type claims a constructor that no server calls with other arguments.
  Http2ServerResponse: Answer as typeof Http2ServerResponse,
  minVersion: "TLSv1.2",
  handshakeTimeout: HANDSHAKE_WITHIN_MS,
  maxSessionMemory: LIMITS.http2SessionMegabytesMax,
  settings: {
    maxConcurrentStreams: LIMITS.http2StreamsMax,
    initialWindowSize: LIMITS.http2StreamWindowBytes,
  },
} satisfies SecureServerOptions;

export interface SecureServer {
  server: Http2SecureServer;
  /** Sends GOAWAY on every HTTP/2 connection: open streams go on, and the client opens no new ones. */
  goAway(): void;
}

/** Makes the server, which is not listening yet. */
export function createTlsServer(
  certificate: Certificate,
  times: ConnectionTimes,
  log: Pick<Log, "debug">,
): SecureServer {
  const server = createSecureServer({ ...OPTIONS, ...certificate });
  // Node 20 reads none of these from the options of such a server, and Node 24 all of them.
  Object.assign(server, times, { requireHostHeader: true });
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.setLocalWindowSize(LIMITS.http2ConnectionWindowBytes);
    closeWhenIdle(session, times.keepAliveTimeout);
    closeWhenAbandoning(session);
  });
  server.on("request", dropBodyOfRead);
  server.on("sessionError", (error) => log.debug({ err: error }, "an HTTP/2 connection was closed"));
  return {
    server,
    goAway: () => {
      for (const session of sessions) session.close();
    },
  };
}

/**
 * Closes a session that has had no stream for a while, as a connection over HTTP/1.1 without a request. Pings
 * and heads that never end do not keep it open.
 */
function closeWhenIdle(session: ServerHttp2Session, idleMs: number): void {
  let open = 0;
  const close = (): void => session.destroy();
  let idle = setTimeout(close, idleMs);
  session.on("stream", (stream: ServerHttp2Stream) => {
    open += 1;
    clearTimeout(idle);
    stream.once("close", () => {
      open -= 1;
      if (open === 0 && !session.destroyed) idle = setTimeout(close, idleMs);
    });
  });
  session.once("close", () => clearTimeout(idle));
}

/**
 * Closes a session whose client opens calls and gives them up before they are answered: each leaves work
 * behind, however few are open at a time ("rapid reset"). Counted as calls come, not as they end, so that one
 * packet cannot bring more.
 */
function closeWhenAbandoning(session: ServerHttp2Session): void {
  let unanswered = 0;
  let sinceMs = performance.now();
  session.on("stream", (stream: ServerHttp2Stream) => {
    const nowMs = performance.now();
    if (nowMs - sinceMs > LIMITS.http2UnansweredWindowMs) [unanswered, sinceMs] = [0, nowMs];
    unanswered += 1;
    if (unanswered > LIMITS.http2UnansweredMax)
      session.destroy(new Error("too many calls were given up"), constants.NGHTTP2_ENHANCE_YOUR_CALM);
    stream.once("close", () => {
      if (stream.headersSent && unanswered > 0) unanswered -= 1;
    });
  });
}

/**
 * Drops the body of a call that reads, as it comes. Nobody else reads it, and Node would keep as much of it
 * as the window of a stream allows, for as long as the answer takes.
 */
function dropBodyOfRead(incoming: IncomingMessage | Http2ServerRequest): void {
  const isRead = incoming.method === "GET" || incoming.method === "HEAD";
  if (isRead && incoming instanceof Http2ServerRequest) incoming.resume();
}

type Fetch = (
  request: Request,
  env: { incoming: IncomingMessage | Http2ServerRequest },
) => Response | Promise<Response>;

/**
 * Answers 431 to a call over HTTP/2 whose head is larger than Node accepts over HTTP/1.1, where it does so by
 * itself.
 */
export function boundHeads(fetch: Fetch): Fetch {
  return (request, env) =>
    env.incoming instanceof Http2ServerRequest && headBytes(env.incoming) > maxHeaderSize
      ? Promise.resolve(new Response(null, { status: 431 }))
      : fetch(request, env);
}

function headBytes({ rawHeaders }: Http2ServerRequest): number {
  let bytes = 0;
  for (const part of rawHeaders) bytes += part.length;
  return bytes;
}
