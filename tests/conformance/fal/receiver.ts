/** Runs a webhook receiver: it records deliveries and replies as configured. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Json } from "./http.ts";

/** Time after which a delivery never comes. */
const ARRIVAL_MS = 300_000;

export interface Delivery {
  atMs: number;
  method: string;
  path: string;
  headers: IncomingHttpHeaders;
  raw: Buffer;
  body: Json;
}

export interface Hook {
  url: string;
  deliveries: Delivery[];
  /** Resolves when this many have arrived. */
  arrived(count: number): Promise<Delivery[]>;
}

type Reply = (delivery: Delivery, nth: number, response: ServerResponse) => void;

export interface Receiver {
  /** Creates a URL of its own with the replies of `reply`. Default: 200. */
  hook(reply?: Reply): Hook;
  close(): Promise<void>;
}

/** Starts the receiver. `host` is the name or address under which the server reaches this machine. */
export async function startReceiver(host: string): Promise<Receiver> {
  const hooks = new Map<string, { deliveries: Delivery[]; reply: Reply; waiters: Set<() => void> }>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const raw = Buffer.concat(chunks);
    const path = new URL(request.url ?? "/", "http://receiver").pathname;
    const hook = hooks.get(path);
    if (!hook) return void response.writeHead(404).end();
    const delivery: Delivery = {
      atMs: Date.now(),
      method: request.method ?? "",
      path,
      headers: request.headers,
      raw,
      body: parse(raw),
    };
    hook.deliveries.push(delivery);
    hook.reply(delivery, hook.deliveries.length, response);
    for (const wake of hook.waiters) wake();
  });
  await new Promise<void>((resolve) => server.listen(0, host === "127.0.0.1" ? host : "0.0.0.0", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    hook(reply = (_delivery, _nth, response) => void response.writeHead(200).end()) {
      const path = `/hook-${hooks.size + 1}`;
      const entry = { deliveries: [] as Delivery[], reply, waiters: new Set<() => void>() };
      hooks.set(path, entry);
      return {
        url: `http://${host}:${port}${path}`,
        deliveries: entry.deliveries,
        arrived: (count) =>
          new Promise((resolve, reject) => {
            const look = () => {
              if (entry.deliveries.length < count) return;
              clearTimeout(timer);
              entry.waiters.delete(look);
              resolve(entry.deliveries);
            };
            const timer = setTimeout(() => {
              entry.waiters.delete(look);
              reject(
                new Error(
                  `${entry.deliveries.length} of ${count} deliveries arrived within ${ARRIVAL_MS / 1000} s`,
                ),
              );
            }, ARRIVAL_MS);
            entry.waiters.add(look);
            look();
          }),
      };
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function parse(raw: Buffer): Json {
  try {
    return JSON.parse(raw.toString("utf8"));
  } catch {
    return undefined;
  }
}
