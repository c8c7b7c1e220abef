/**
 * HTTP plumbing that the services share: listeners, addresses and host routing, request ids, bodies, answers
 * and streams.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { Http2ServerRequest, type Http2ServerResponse } from "node:http2";
import type { AddressInfo, Server } from "node:net";
import type { Duplex } from "node:stream";
import { getRequestListener } from "@hono/node-server";
import type { Hono } from "hono";
import type { Log } from "../../core/operations/log.ts";
import { BoundedCall, OpenConnections, PipelinedCalls } from "./connection-bounds.ts";
import { boundHeads, type Certificate, createTlsServer } from "./secure-server.ts";
import { endWhenStalled } from "./stalled-answers.ts";

/**
 * Takes over a connection that is to become a WebSocket. Close such connections before the listener is
 * stopped: `stop` waits for them.
 */
export type UpgradeHandler = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/**
 * A request's head has a minute to arrive. Its body has no limit here, since all bodies would have the same
 * one: uploads need hours, JSON needs minutes, and the readers of bodies set their own
 * (`files/upload-body.ts`, `read-body.ts`).
 *
 * A connection without a request stays open for longer than clients and load balancers keep theirs (60 s is
 * common). If it were closed here first, as Node does after five seconds, a request on its way at that moment
 * would be lost.
 */
const TIMES = { headersTimeout: 60_000, requestTimeout: 0, keepAliveTimeout: 75_000 };

export interface HttpServer {
  port: number;
  /** Replaces the certificate of a TLS listener for new connections. Open ones keep theirs. */
  useCertificate(certificate: Certificate): void;
  /** Accepts no new connections, lets answers finish for at most `graceMs`, then closes what is left. */
  stop(graceMs: number): Promise<void>;
}

interface ListenOptions {
  host: string;
  port: number;
  /** The service, for the error message. */
  name: string;
  /** The setting of the port, for the error message. */
  setting: string;
  /** For HTTP/2 and HTTP/1.1 over TLS; plain HTTP/1.1 without it. */
  tls?: Certificate & { log: Pick<Log, "debug"> };
  upgrade?: UpgradeHandler;
  /** Open connections of one address. @default 0: as many as it likes */
  connectionsOfAddressMax?: number;
}

/**
 * Listens: over TLS with HTTP/2 and HTTP/1.1 when there is a certificate, else with plain HTTP/1.1. Rejects
 * with a message that names the port and its setting when the port cannot be opened.
 */
export function listen(app: Hono, options: ListenOptions): Promise<HttpServer> {
  const { host, port, tls, upgrade, connectionsOfAddressMax = 0 } = options;
  const secure = tls && createTlsServer(tls, TIMES, tls.log);
  const serve = getRequestListener(secure ? boundHeads(app.fetch) : app.fetch, { hostname: host });
  const server: Server = secure ? secure.server : createServer({ ...TIMES, IncomingMessage: BoundedCall });
  const calls = new PipelinedCalls();
  server.on("request", (call: Call, answer: Answer) => {
    if (!isHttp2(call) && !calls.admit(call, answer as ServerResponse)) return;
    serve(call, answer);
    endWhenStalled(answer);
  });
  if (upgrade) addUpgradeHandler(server, upgrade, calls);
  const connections = new OpenConnections(server, connectionsOfAddressMax);
  return new Promise((resolve, reject) => {
    const refuse = (error: NodeJS.ErrnoException): void => reject(listenError(error, options));
    server.once("error", refuse);
    server.listen(port, host, () => {
      server.off("error", refuse);
      resolve({
        port: (server.address() as AddressInfo).port,
        useCertificate: ({ cert, key }) => secure?.server.setSecureContext({ cert, key }),
        async stop(graceMs) {
          const closed = new Promise<void>((done) => server.close(() => done()));
          secure?.goAway();
          const timer = setTimeout(() => connections.destroy(), graceMs);
          await closed;
          clearTimeout(timer);
        },
      });
    });
  });
}

type Call = IncomingMessage | Http2ServerRequest;
type Answer = ServerResponse | Http2ServerResponse;

const isHttp2 = (call: Call): call is Http2ServerRequest => call instanceof Http2ServerRequest;

function listenError(error: NodeJS.ErrnoException, { port, name, setting }: ListenOptions): Error {
  if (error.code === "EADDRINUSE")
    return new Error(
      `Port ${port} (${name}) is in use; stop the other program or set ${setting} to a free port.`,
      { cause: error },
    );
  if (error.code === "EACCES")
    return new Error(
      `Port ${port} (${name}) may not be opened by this user; set ${setting} to a port above 1023.`,
      { cause: error },
    );
  return error;
}

function addUpgradeHandler(server: Server, upgrade: UpgradeHandler, calls: PipelinedCalls): void {
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // The answers of two calls would mix, since the connection leaves the order that Node keeps.
    if (calls.has(socket)) socket.destroy();
    else if (request.headers.upgrade?.toLowerCase() === "websocket") upgrade(request, socket, head);
    else serveWithoutUpgrade(server, request, socket, head);
  });
}

/** The headers that offer an upgrade. */
const UPGRADE_HEADERS = new Set(["connection", "upgrade", "http2-settings"]);

/**
 * Serves a request by HTTP/1.1 although it offers another protocol than WebSocket, as Java's client does with
 * every request (`Upgrade: h2c`). Node gives up such a connection once there is a listener for upgrades, so
 * the connection is handed back to the server with the request written anew, without the offer.
 */
function serveWithoutUpgrade(
  server: Server,
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
