/**
 * A server in front of the server: passes everything on, remembers what it saw, and changes one thing if it is told to. With
 * no change it proves what a client sent; with one it is a broken server that the suite has to notice.
 */
import { createServer, type IncomingHttpHeaders, request as requestHttp } from "node:http";
import type { AddressInfo } from "node:net";

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
 * @param change is given each whole answer before it is passed on. Without it bodies stream through.
 * @param sent is given what is sent on, to change it
 */
export async function startForwarder(
  target: string,
  { change, sent }: { change?: (answer: Passed, seen: Seen) => Passed; sent?: (seen: Seen) => Seen } = {},
): Promise<Forwarder> {
  const seen: Seen[] = [];
  const { hostname, port } = new URL(target);
  const server = createServer(async (incoming, outgoing) => {
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
    // The Host header goes on as it came: the addresses in the answers lead through here again.
    const inner = requestHttp({ hostname, port, method, path, headers }, (answer) => {
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
        const changed = change({ status: answer.statusCode ?? 502, headers: kept, body: Buffer.concat(pieces) }, asSeen);
        outgoing.writeHead(changed.status, changed.headers);
        outgoing.end(changed.body);
      });
      answer.on("error", () => outgoing.destroy());
    });
    inner.on("error", () => outgoing.destroy());
    outgoing.on("close", () => inner.destroy());
    inner.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://localhost:${(server.address() as AddressInfo).port}`,
    seen,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
