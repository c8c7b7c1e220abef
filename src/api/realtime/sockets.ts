/** WebSockets of the gateway: the one handler of upgrades, and what every socket has in common. */
import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { errorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { falError } from "../../fal/errors.ts";
import { parseSocketAddress, type SocketAddress } from "../../fal/realtime.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { REQUEST_ID_HEADER } from "../http/request-id.ts";
import { createByteBudget } from "./byte-budget.ts";
import { createHttpSocket, type InnerFetch } from "./http-socket.ts";
import { createRealtimeSocket } from "./realtime-socket.ts";
import { keepAlive, type ServedSocket, shedBacklog } from "./socket-end.ts";

export interface Sockets {
  /** Takes an HTTP server's upgrade; answers it as plain HTTP when no socket is served there. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** How many are open. */
  readonly open: number;
  /** Says goodbye to all of them and takes no more. */
  stop(): Promise<void>;
}

/**
 * A socket that answers a close frame without a code with 1000: clients would report an echoed 1005 as an
 * error (contract §5.3).
 */
class PoliteWebSocket extends WebSocket {
  override close(code = 1000, reason?: string | Buffer): void {
    super.close(code, reason);
  }
}

/**
 * @param fetchInner the gateway's own routes, for payloads that are HTTP requests in disguise
 */
export function createSockets(
  api: Pick<
    ApiDependencies,
    | "registry"
    | "flags"
    | "keyRing"
    | "tokens"
    | "events"
    | "requests"
    | "jobs"
    | "objects"
    | "sessions"
    | "frames"
    | "clock"
    | "log"
    | "bodyBytesMax"
    | "runsMax"
    | "trustProxy"
    | "realtime"
  >,
  fetchInner: InnerFetch,
): Sockets {
  const served = new Map<WebSocket, ServedSocket>();
  let stopping = false;
  /** Upgrades that are being looked at. */
  let opening = 0;
  const serverOf = (maxPayload: number) =>
    new WebSocketServer({
      noServer: true,
      clientTracking: false,
      WebSocket: PoliteWebSocket,
      maxPayload,
      // Contexts are not kept between messages: each would hold 300 KiB for the life of its socket.
      perMessageDeflate: {
        threshold: 1024,
        concurrencyLimit: 4,
        serverNoContextTakeover: true,
        clientNoContextTakeover: true,
      },
    });
  const servers = { run: serverOf(LIMITS.frameBytesMax), ws: serverOf(api.bodyBytesMax) };
  // One payload as large as any body must fit.
  const inputs = createByteBudget(Math.max(LIMITS.socketsInputBytesMax, 2 * api.bodyBytesMax));
  const realtime = createRealtimeSocket({ ...api, inputs });
  const http = createHttpSocket(
    {
      ...api,
      inputs,
      // It may change while it runs, and a copy would not.
      get runsMax() {
        return api.runsMax;
      },
    },
    fetchInner,
  );
  const shedding = setInterval(
    () => shedBacklog(served.keys(), LIMITS.socketsBacklogBytesMax),
    LIMITS.socketsBacklogCheckMs,
  ).unref();

  const accept = (
    address: SocketAddress,
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    gone: () => void,
    serve: (ws: WebSocket) => ServedSocket,
  ) =>
    servers[address.tree].handleUpgrade(request, socket, head, (ws) => {
      socket.off("error", gone); // `ws` has a listener of its own now
      served.set(ws, serve(ws));
      ws.on("error", (error) => api.log.debug({ err: error }, "a socket broke")); // `close` follows
      const stopPings = keepAlive(ws);
      ws.once("close", () => {
        served.delete(ws);
        stopPings();
      });
    });

  return {
    upgrade(request, socket, head) {
      const gone = (): void => void socket.destroy();
      socket.on("error", gone);
      const address = parseSocketAddress(hostOf(request, api.trustProxy === true), request.url ?? "/");
      const serve = async (): Promise<void> => {
        if (!address)
          throw new TemperaError(
            "path_unknown",
            `No WebSocket is served at ${(request.url ?? "/").split("?")[0]?.slice(0, 200)}`,
          );
        if (stopping) throw goingAway();
        if (served.size + opening > api.realtime.socketsMax) throw new TemperaError("sockets_exhausted");
        const open = address.tree === "ws" ? await http(address, request) : await realtime(address, request);
        if (stopping) throw goingAway();
        // A refusal goes on listening: the connection may break while it is told.
        if (!socket.destroyed) accept(address, request, socket, head, gone, open);
      };
      opening++;
      serve()
        .catch((error) => refuse(socket, error, api.log))
        .finally(() => opening--);
    },
    get open() {
      return served.size;
    },
    async stop() {
      stopping = true;
      clearInterval(shedding);
      const closing = [...served].map(([ws, { goAway }]) => {
        const closed = new Promise<void>((resolve) => ws.once("close", () => resolve()));
        return Promise.all([goAway(), closed]);
      });
      await Promise.all(closing);
    },
  };
}

const goingAway = (): TemperaError =>
  new TemperaError("store_unavailable", "The gateway is shutting down. Try again.");

const hostOf = ({ headers }: IncomingMessage, trustProxy: boolean): string => {
  const forwarded = trustProxy ? headers["x-forwarded-host"] : undefined;
  return (Array.isArray(forwarded) ? forwarded[0] : forwarded)?.split(",")[0]?.trim() || headers.host || "";
};

/** Answers an upgrade as plain HTTP, in the shape of every other error. */
function refuse(socket: Duplex, error: unknown, log: ApiDependencies["log"]): void {
  if (!isTemperaError(error)) log.error({ err: error }, "unexpected error in an upgrade");
  const info = isTemperaError(error)
    ? errorInfo(error)
    : { code: "server_error" as const, message: CATALOGUE.server_error.says };
  if (info.code === "store_unavailable") {
    // Which store, where and why is for operators.
    log.warn({}, info.message);
    info.message = CATALOGUE.store_unavailable.says;
  }
  const { status, headers, body } = falError(info);
  const text = JSON.stringify(body);
  const lines = Object.entries({
    ...headers,
    "content-type": "application/json",
    "content-length": String(Buffer.byteLength(text)),
    [REQUEST_ID_HEADER]: newRequestId(),
    connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines.join("")}\r\n${text}`);
}
