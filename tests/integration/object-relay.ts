import { type IncomingMessage, type RequestOptions, request, Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** An S3 store behind a relay, which a test fills or takes away. */
export interface ObjectRelay extends AsyncDisposable {
  /** `http://host:port`. */
  url: string;
  /** `full`: writes are refused with 507, and reads work. `away`: connections are closed. */
  state: "well" | "full" | "away";
}

const FULL =
  '<?xml version="1.0" encoding="UTF-8"?><Error><Code>XMinioStorageFull</Code>' +
  "<Message>Storage backend has reached its minimum free drive threshold.</Message></Error>";

/** Starts a relay to an S3 store at `http://host:port`. Signatures stay valid: the headers pass as they are. */
export async function startObjectRelay(target: string): Promise<ObjectRelay> {
  const { hostname, port } = new URL(target);
  const forward = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    const { method, url: path, headers } = incoming;
    const options: RequestOptions = { hostname, port, method, path, headers };
    const sent = request(options, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    sent.on("error", () => outgoing.destroy());
    incoming.on("error", () => sent.destroy());
    incoming.pipe(sent);
  };
  const server = new Server(async (incoming, outgoing) => {
    const isWrite = incoming.method === "PUT" || incoming.method === "POST";
    if (relay.state === "well" || (relay.state === "full" && !isWrite)) return forward(incoming, outgoing);
    if (relay.state === "away") return void incoming.destroy();
    for await (const _ of incoming);
    outgoing.writeHead(507, { "content-type": "application/xml" }).end(FULL);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const relay: ObjectRelay = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    state: "well",
    async [Symbol.asyncDispose]() {
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
  return relay;
}
