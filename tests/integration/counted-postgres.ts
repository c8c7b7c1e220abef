import type { AddressInfo } from "node:net";
import { connect, createServer, type Socket } from "node:net";

export interface CountedPostgres extends AsyncDisposable {
  /** Address of the same database through this proxy. */
  url: string;
  /** The text of each statement that was executed, prepared ones by their text too. */
  statements: string[];
}

/**
 * Starts a proxy to PostgreSQL that records the statements of its clients. A client's message begins with a
 * letter and its length: `P` prepares a text under a name, `B` executes a name, `Q` executes a text.
 */
export async function countedPostgres(databaseUrl: string): Promise<CountedPostgres> {
  const statements: string[] = [];
  const sockets = new Set<Socket>();
  const { hostname, port } = new URL(databaseUrl);
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    sockets.add(client).add(upstream);
    const prepared = new Map<string, string>();
    let buffered = Buffer.alloc(0);
    let greeted = false;
    client.on("data", (chunk) => {
      buffered = Buffer.concat([buffered, chunk as Buffer]);
      for (;;) {
        const at = greeted ? 1 : 0; // the first message has no letter
        if (buffered.length < at + 4) break;
        const length = at + buffered.readInt32BE(at);
        if (buffered.length < length) break;
        const message = buffered.subarray(0, length);
        buffered = buffered.subarray(length);
        if (!greeted) {
          greeted = true;
          continue;
        }
        const texts = message.subarray(5).toString("utf8").split("\0");
        const letter = String.fromCharCode(message[0] as number);
        if (letter === "P") prepared.set(texts[0] ?? "", texts[1] ?? "");
        if (letter === "B") statements.push(prepared.get(texts[1] ?? "") ?? `unknown statement ${texts[1]}`);
        if (letter === "Q") statements.push(texts[0] ?? "");
      }
    });
    client.pipe(upstream).pipe(client);
    const end = (): void => {
      client.destroy();
      upstream.destroy();
    };
    for (const socket of [client, upstream]) socket.on("error", () => {}).on("close", end);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const url = new URL(databaseUrl);
  url.hostname = "127.0.0.1";
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    statements,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
}
