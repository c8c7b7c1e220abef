import type { IncomingMessage } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { type ServerType, serve } from "@hono/node-server";
import type { Hono } from "hono";

/** A certificate chain and its private key, as PEM. */
interface Certificate {
  cert: string;
  key: string;
}

/**
 * Takes a connection that asks to become a WebSocket. Whoever stops the listener ends those first: it waits
 * for them.
 */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/**
 * A request's head is awaited for a minute. Its body has no time here, where all bodies would have the same:
 * uploads have hours and JSON minutes, and whoever reads one keeps it (`files/upload-body.ts`,
 * `read-body.ts`).
 *
 * A connection without a request stays open for longer than clients and load balancers keep theirs (60 s is
 * common): were it closed here first, as after Node's five seconds, a request on its way just then would be
 * lost.
 */
const TIMES = { headersTimeout: 60_000, requestTimeout: 0, keepAliveTimeout: 75_000 };

/** A connection that has not finished its TLS handshake by then is cut. */
const HANDSHAKE_WITHIN_MS = 10_000;

export interface HttpServer {
  port: number;
  /** Of a TLS listener: what connections get from now on. Open ones keep theirs. */
  useCertificate(certificate: Certificate): void;
  /** Takes no new connections, lets answers end for at most `graceMs`, then cuts what is left. */
  stop(graceMs: number): Promise<void>;
}

/**
 * Listens, over TLS when given a certificate (HTTP/1.1 either way); rejects with a sentence that names the
 * port when it is taken.
 */
export function listen(
  app: Hono,
  {
    host,
    port,
    name,
    setting,
    tls,
    upgrade,
  }: {
    host: string;
    port: number;
    name: string;
    setting: string;
    tls?: Certificate;
    upgrade?: UpgradeHandler;
  },
): Promise<HttpServer> {
  return new Promise((resolve, reject) => {
    const secure = tls && {
      createServer: createTlsServer,
      serverOptions: {
        ...TIMES,
        ...tls,
        minVersion: "TLSv1.2" as const,
        handshakeTimeout: HANDSHAKE_WITHIN_MS,
      },
    };
    const server: ServerType = serve(
      { fetch: app.fetch, hostname: host, port, serverOptions: TIMES, ...secure },
      () => {
        server.off("error", refused);
        const close = (): Promise<void> => new Promise((done) => server.close(() => done()));
        resolve({
          port: (server.address() as AddressInfo).port,
          useCertificate: (certificate) =>
            "setSecureContext" in server && server.setSecureContext(certificate),
          stop: async (graceMs) => {
            const closed = close();
            if ("closeIdleConnections" in server) server.closeIdleConnections();
            const timer = setTimeout(
              () => "closeAllConnections" in server && server.closeAllConnections(),
              graceMs,
            );
            await closed;
            clearTimeout(timer);
          },
        });
      },
    );
    if (upgrade) {
      server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
        if (request.headers.upgrade?.toLowerCase() === "websocket") upgrade(request, socket, head);
        else serveAsItIs(server, request, socket, head);
      });
    }
    const refused = (error: NodeJS.ErrnoException): void => {
      reject(
        error.code === "EADDRINUSE"
          ? new Error(
              `Port ${port} (${name}) is in use; stop the other program or set ${setting} to a free port.`,
              { cause: error },
            )
          : error.code === "EACCES"
            ? new Error(
                `Port ${port} (${name}) may not be opened by this user; set ${setting} to a port above 1023.`,
                { cause: error },
              )
            : error,
      );
    };
    server.once("error", refused);
  });
}

/** Hop headers of an upgrade. */
const UPGRADE_HEADERS = new Set(["connection", "upgrade", "http2-settings"]);

/**
 * Goes on with HTTP/1.1 for a caller who offered another protocol than WebSocket, as Java's client does with
 * every request (`Upgrade: h2c`): Node gives such connections away once anybody listens for upgrades, so this
 * one is handed back with the request as if it had offered nothing.
 */
function serveAsItIs(
  server: ServerType,
  { method, url, rawHeaders }: IncomingMessage,
  socket: Duplex,
  head: Buffer,
): void {
  const lines = [`${method} ${url} HTTP/1.1`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (!UPGRADE_HEADERS.has(rawHeaders[i]?.toLowerCase() ?? ""))
      lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
  }
  socket.unshift(Buffer.concat([Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1"), head]));
  server.emit("encrypted" in socket ? "secureConnection" : "connection", socket);
}
