import type { AddressInfo } from "node:net";
import { connect, createServer, type Server, type Socket } from "node:net";

/** A TCP relay in front of a service, which a test takes away from its clients. */
export interface Relay extends AsyncDisposable {
  /** `host:port`, the same after a `cut`. */
  address: string;
  /** Lets no answer through from now on; the service still gets what clients send. */
  holdAnswers(): void;
  /** Delivers the answers that were held, and lets all later ones through. */
  releaseAnswers(): void;
  /** Ends all connections and refuses new ones. */
  cut(): Promise<void>;
  /** Takes connections again, if they were cut. */
  restore(): Promise<void>;
}

/** Starts a relay to `host:port`. */
export async function startRelay(target: string): Promise<Relay> {
  const { hostname, port } = new URL(`tcp://${target}`);
  const pairs = new Map<Socket, Socket>();
  let isHeld = false;
  let server: Server | undefined;
  let ownPort = 0;

  const listen = async (): Promise<void> => {
    if (server) return;
    server = createServer((client) => {
      const upstream = connect(Number(port), hostname);
      pairs.set(client, upstream);
      client.pipe(upstream);
      if (!isHeld) upstream.pipe(client);
      const end = (): void => {
        pairs.delete(client);
        client.destroy();
        upstream.destroy();
      };
      for (const socket of [client, upstream]) socket.on("error", () => {}).on("close", end);
    });
    await new Promise<void>((listening) => server?.listen(ownPort, "127.0.0.1", listening));
    ownPort = (server.address() as AddressInfo).port;
  };
  const cut = async (): Promise<void> => {
    const closing = server;
    server = undefined;
    const closed = new Promise((done) => (closing ? closing.close(done) : done(undefined)));
    for (const [client, upstream] of [...pairs]) for (const socket of [client, upstream]) socket.destroy();
    await closed;
  };
  await listen();
  return {
    address: `127.0.0.1:${ownPort}`,
    holdAnswers() {
      isHeld = true;
      for (const [client, upstream] of pairs) {
        upstream.unpipe(client);
        upstream.pause();
      }
    },
    releaseAnswers() {
      isHeld = false;
      for (const [client, upstream] of pairs) upstream.pipe(client);
    },
    cut,
    restore: listen,
    [Symbol.asyncDispose]: cut,
  };
}
