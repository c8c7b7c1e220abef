/**
 * WebSockets of the gateway: the handler of upgrades, and the parts that all sockets share. Realtime sessions
 * are served by `realtime-socket.ts`, HTTP over WebSocket by `http-socket.ts`.
 */
import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { CATALOGUE } from "../../core/errors/catalogue.ts";
import { isStoreFailure } from "../../core/errors/store-failure.ts";
import { errorInfo, isTemperaError, TemperaError } from "../../core/errors/tempera-error.ts";
import { writeJson } from "../../core/json/exact-json.ts";
import { LIMITS } from "../../core/limits.ts";
import { newRequestId } from "../../core/requests/request-id.ts";
import { falError } from "../../fal/errors.ts";
import { parseSocketAddress, type SocketAddress } from "../../fal/realtime.ts";
import { networkOf } from "../auth/auth-failure-limiter.ts";
import type { ApiDependencies } from "../dependencies.ts";
import { assertApiHost } from "../files/files-host.ts";
import { REQUEST_ID_HEADER } from "../http/request-id.ts";
import { Budget, type Hold } from "../limits/budget.ts";
import { countArrivingMessages } from "./arriving-messages.ts";
import { createHttpSocket, type InnerFetch } from "./http-socket.ts";
import { closeWithError, createRealtimeSocket } from "./realtime-socket.ts";
import { type OpenedSocket, type ServedSocket, shedBacklog, startPings } from "./socket-end.ts";

export interface Sockets {
  /** Handles an HTTP server's upgrade. Answers it as plain HTTP when it is refused. */
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void;
  /** The number of open sockets. */
  readonly open: number;
  /** Ends all sockets and refuses new ones. Resolves when all have closed and their sessions have ended. */
  stop(): Promise<void>;
}

/**
 * Answers a close frame without a code with 1000: clients would report an echoed 1005 as an error
 * (contract §5.3).
 */
class CleanClosingWebSocket extends WebSocket {
  override close(code = 1000, reason?: string | Buffer): void {
    super.close(code, reason);
  }
}

type Api = Pick<
  ApiDependencies,
  | "registry"
  | "flags"
  | "keyRing"
  | "tokens"
  | "authFailures"
  | "events"
  | "requests"
  | "jobs"
  | "objects"
  | "sessions"
  | "withdrawJob"
  | "frames"
  | "clock"
  | "log"
  | "bodyBytesMax"
  | "budgets"
  | "trustProxy"
  | "realtime"
  | "filesUrl"
>;

/** @param fetchInner the gateway's own routes, for payloads that are HTTP requests */
export function createSockets(api: Api, fetchInner: InnerFetch): Sockets {
  return new GatewaySockets(api, fetchInner);
}

/** An upgrade that a caller asks for. */
interface Upgrade {
  request: IncomingMessage;
  socket: Duplex;
  head: Buffer;
  /** The listener of a connection's error until there is a WebSocket. */
  onError: () => void;
}

class GatewaySockets implements Sockets {
  readonly #api: Api;
  readonly #servers: Record<SocketAddress["tree"], WebSocketServer>;
  /** Answers callers who are refused on a socket. They have nothing to send. */
  readonly #refusing = createServer(REFUSED_BYTES_MAX);
  readonly #openers: Record<
    SocketAddress["tree"],
    (address: SocketAddress, request: IncomingMessage) => Promise<OpenedSocket>
  >;
  readonly #served = new Map<WebSocket, ServedSocket>();
  /** Those of them whose callers were refused: they only wait for the close. */
  readonly #refused = new Set<WebSocket>();
  /** Handshakes and refused sockets, by the address that they came from. */
  readonly #handshakes = new Budget({
    things: "WebSocket handshakes under way from this address",
    remedy: "Wait until some have ended.",
    ofOwner: () => LIMITS.handshakesOfAddressMax,
  });
  readonly #shedding: NodeJS.Timeout;
  #stopping = false;

  constructor(api: Api, fetchInner: InnerFetch) {
    this.#api = api;
    this.#servers = { run: createServer(LIMITS.frameBytesMax), ws: createServer(api.bodyBytesMax) };
    this.#openers = { run: createRealtimeSocket(api), ws: createHttpSocket(api, fetchInner) };
    this.#shedding = setInterval(
      () => shedBacklog(this.#served.keys(), LIMITS.socketsBacklogBytesMax),
      LIMITS.socketsBacklogCheckMs,
    ).unref();
  }

  get open(): number {
    return this.#served.size - this.#refused.size;
  }

  readonly upgrade = (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    const onError = (): void => void socket.destroy();
    socket.on("error", onError);
    this.#upgrade({ request, socket, head, onError }).catch((error) => refuse(socket, error, this.#api.log));
  };

  async stop(): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#shedding);
    const closing = [...this.#served].map(([ws, socket]) => {
      const closed = new Promise<void>((resolve) => ws.once("close", () => resolve()));
      return Promise.all([socket.goAway(), closed]);
    });
    await Promise.all(closing);
  }

  async #upgrade(upgrade: Upgrade): Promise<void> {
    const { request, socket } = upgrade;
    const { headers, url = "/" } = request;
    const trustProxy = this.#api.trustProxy === true;
    const host = hostOf(request, trustProxy);
    assertApiHost(host, this.#api.filesUrl);
    const address = parseSocketAddress(host, url);
    if (!address)
      throw new TemperaError("path_unknown", `No WebSocket is served at ${url.split("?")[0]?.slice(0, 200)}`);
    if (this.#stopping) throw goingAway();
    const forwarded = [headers["x-forwarded-for"]].flat().at(-1);
    const network = networkOf(forwarded, (socket as Socket).remoteAddress, trustProxy);
    // A refused caller holds its slot until its socket has closed: it need not answer the close.
    using _slot = this.#handshakes.acquire(network ?? "");
    const opened = await this.#open(address, request, network);
    if (this.#stopping) throw goingAway();
    // A refused connection still needs a listener: it may break while the refusal is sent.
    if (socket.destroyed) return;
    const admitted = this.#admit(address.tree, opened);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    void closed.then(() => admitted.slot?.[Symbol.dispose]());
    const server = admitted.slot ? this.#servers[address.tree] : this.#refusing;
    server.handleUpgrade(request, socket, upgrade.head, (ws) => {
      socket.off("error", upgrade.onError); // `ws` has a listener of its own now
      this.#accept(ws, admitted.serve);
      if (!("ownerId" in opened) || !admitted.slot) return void this.#refused.add(ws);
      const arriving = this.#api.budgets.bodies.acquire(opened.ownerId, 0);
      ws.once("close", () => arriving[Symbol.dispose]());
      countArrivingMessages(ws, socket, arriving);
    });
    if (!admitted.slot) await closed;
  }

  /** Checks a handshake. Resolves with the refusal of a caller that the opener refuses. */
  async #open(
    address: SocketAddress,
    request: IncomingMessage,
    network: string | undefined,
  ): Promise<OpenedSocket | TemperaError> {
    const { authFailures } = this.#api;
    const credential = address.query.get("fal_jwt_token") ?? request.headers.authorization;
    if (credential !== undefined && network !== undefined)
      try {
        authFailures.admit(network, credential);
      } catch (error) {
        // The connection is not read yet, so nothing tells that the caller has left.
        await authFailures.delayRefusal(network);
        throw error;
      }
    try {
      return await this.#openers[address.tree](address, request);
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      if (credential !== undefined && network !== undefined && CATALOGUE[error.code].status === 401)
        authFailures.countFailure(network);
      return error;
    }
  }

  /**
   * Takes a socket of its owner's for a caller. The refusal of a realtime caller is told on a socket, since
   * browsers do not tell a script why an upgrade failed; any other refusal is thrown.
   */
  #admit(
    tree: SocketAddress["tree"],
    opened: OpenedSocket | TemperaError,
  ): { serve: OpenedSocket["serve"]; slot?: Hold } {
    try {
      if (!("ownerId" in opened)) throw opened;
      return { serve: opened.serve, slot: this.#api.budgets.sockets.acquire(opened.ownerId) };
    } catch (error) {
      if (!isTemperaError(error) || tree === "ws" || error.code === "capacity_limit") throw error;
      return { serve: (ws) => closeWithError(ws, error) };
    }
  }

  #accept(ws: WebSocket, serve: OpenedSocket["serve"]): void {
    this.#served.set(ws, serve(ws));
    ws.on("error", (error) => this.#api.log.debug({ err: error }, "a socket failed")); // `close` follows
    const stopPings = startPings(ws);
    ws.once("close", () => {
      this.#served.delete(ws);
      this.#refused.delete(ws);
      stopPings();
    });
  }
}

/** Bytes of a message that is read from a refused caller: one that has no key yet must cost nothing. */
const REFUSED_BYTES_MAX = 1024;

function createServer(maxPayload: number): WebSocketServer {
  return new WebSocketServer({
    noServer: true,
    clientTracking: false,
    WebSocket: CleanClosingWebSocket,
    maxPayload,
    // A piece of a message of 32 KB would be inflated to 32 MB, and kept until the last piece comes.
    perMessageDeflate: false,
  });
}

const goingAway = (): TemperaError =>
  new TemperaError("store_unavailable", "The gateway is shutting down. Try again.");

const hostOf = ({ headers }: IncomingMessage, trustProxy: boolean): string => {
  const forwarded = trustProxy ? headers["x-forwarded-host"] : undefined;
  return (Array.isArray(forwarded) ? forwarded[0] : forwarded)?.split(",")[0]?.trim() || headers.host || "";
};

/**
 * Answers an upgrade with an error, as plain HTTP, and closes the connection: a caller who does not close its
 * own end holds nothing.
 */
export function refuse(socket: Duplex, error: unknown, log: ApiDependencies["log"]): void {
  if (!isTemperaError(error)) log.error({ err: error }, "unexpected error in an upgrade");
  const info = isTemperaError(error)
    ? errorInfo(error)
    : { code: "server_error" as const, message: CATALOGUE.server_error.message };
  if (isStoreFailure(info)) {
    // The details are for operators only.
    log.warn({}, info.message);
    if (info.code === "store_unavailable") info.message = CATALOGUE.store_unavailable.message;
  }
  const { status, headers, body } = falError(info);
  const text = writeJson(body);
  const lines = Object.entries({
    ...headers,
    "content-type": "application/json",
    "cache-control": "no-store",
    "content-length": String(Buffer.byteLength(text)),
    [REQUEST_ID_HEADER]: newRequestId(),
    connection: "close",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines.join("")}\r\n${text}`, () =>
    socket.destroy(),
  );
}
