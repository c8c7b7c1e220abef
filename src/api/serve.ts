import type { AddressInfo } from "node:net";
import { type ServerType, serve } from "@hono/node-server";
import type { Hono } from "hono";

export interface HttpServer {
  port: number;
  /** Takes no new connections, lets answers end for at most `graceMs`, then cuts what is left. */
  stop(graceMs: number): Promise<void>;
}

/** Listens; rejects with a sentence that names the port when it is taken. */
export function listen(
  app: Hono,
  { host, port, name, setting }: { host: string; port: number; name: string; setting: string },
): Promise<HttpServer> {
  return new Promise((resolve, reject) => {
    const server: ServerType = serve({ fetch: app.fetch, hostname: host, port }, () => {
      server.off("error", refused);
      const close = (): Promise<void> => new Promise((done) => server.close(() => done()));
      resolve({
        port: (server.address() as AddressInfo).port,
        stop: async (graceMs) => {
          const closed = close();
          if ("closeIdleConnections" in server) server.closeIdleConnections();
          const timer = setTimeout(() => "closeAllConnections" in server && server.closeAllConnections(), graceMs);
          await closed;
          clearTimeout(timer);
        },
      });
    });
    const refused = (error: NodeJS.ErrnoException): void => {
      reject(
        error.code === "EADDRINUSE"
          ? new Error(`Port ${port} (${name}) is in use; stop the other program or set ${setting} to a free port.`, { cause: error })
          : error.code === "EACCES"
            ? new Error(`Port ${port} (${name}) may not be opened by this user; set ${setting} to a port above 1023.`, { cause: error })
            : error,
      );
    };
    server.once("error", refused);
  });
}
