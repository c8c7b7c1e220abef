/**
 * Runs a proxy in front of the server that records every request and can change requests and responses.
 * Without a change it proves what a client sent; with one it acts as a broken server that the suite must
 * detect.
 */
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as requestHttp,
  type ServerResponse,
} from "node:http";
import { createServer as createServerTls, request as requestHttps } from "node:https";
import type { AddressInfo } from "node:net";
import { relaySockets, type SocketFault } from "./relay-sockets.ts";

export interface Seen {
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface Passed {
  status: number;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Forwarder {
  url: string;
  seen: Seen[];
  close(): Promise<void>;
}

/**
 * Starts the proxy.
 *
 * @param change changes each whole response before it is forwarded; without it, bodies are streamed
 * @param sent changes each request before it is forwarded
 * @param sockets forwards WebSockets too, with these faults
 * @param tls serves HTTPS with this certificate and key (PEM), for an HTTPS target signed by `ca` (PEM)
 */
export async function startForwarder(
  target: string,
  {
    change,
    sent,
    sockets,
    tls,
  }: {
    change?: (answer: Passed, seen: Seen) => Passed;
    sent?: (seen: Seen) => Seen;
    sockets?: SocketFault;
    tls?: { pem: string; ca: string };
  } = {},
): Promise<Forwarder> {
  const seen: Seen[] = [];
  const { hostname, port } = new URL(target);
  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const asSeen: Seen = {
      method: incoming.method ?? "",
      path: incoming.url ?? "",
      headers: incoming.headers,
      body: body.toString("utf8"),
    };
    seen.push(asSeen);
    const { method, path, headers } = sent ? sent(asSeen) : asSeen;
    // The Host header is kept, so that the URLs in responses lead through this proxy again.
    const to = { hostname, port, method, path, headers };
    const inner = tls ? requestHttps({ ...to, ca: tls.ca }, forward) : requestHttp(to, forward);
    inner.on("error", () => outgoing.destroy());
    outgoing.on("close", () => inner.destroy());
    inner.end(body);

    function forward(answer: IncomingMessage): void {
      if (!change) {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        outgoing.flushHeaders();
        answer.pipe(outgoing);
        answer.on("error", () => outgoing.destroy());
        return;
      }
      const pieces: Buffer[] = [];
      answer.on("data", (piece: Buffer) => pieces.push(piece));
      answer.on("end", () => {
        const { "transfer-encoding": _, "content-length": __, ...kept } = answer.headers;
        const changed = change(
          { status: answer.statusCode ?? 502, headers: kept, body: Buffer.concat(pieces) },
          asSeen,
        );
        outgoing.writeHead(changed.status, changed.headers);
        outgoing.end(changed.body);
      });
      answer.on("error", () => outgoing.destroy());
    }
  };
  const server = tls ? createServerTls({ cert: tls.pem, key: tls.pem }, serve) : createServer(serve);
  const endSockets = sockets && relaySockets(server, target, sockets);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `${tls ? "https" : "http"}://localhost:${(server.address() as AddressInfo).port}`,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        endSockets?.();
        server.closeAllConnections();
      }),
  };
}
