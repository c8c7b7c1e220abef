/** Bounds of the connections that a listener takes, before anything is known of their callers. */
import { IncomingMessage, type ServerResponse } from "node:http";
import { constants, Http2ServerRequest } from "node:http2";
import type { Server, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { LIMITS } from "../../core/limits.ts";
import { networkOf } from "../auth/auth-failure-limiter.ts";
import { Budget, type Hold } from "../limits/budget.ts";

/**
 * The open connections of a server, whatever they speak. An address (IPv6: a /64) has at most
 * `ofAddressMax`; further ones are closed at once. 0: as many as it likes.
 */
export class OpenConnections {
  readonly #sockets = new Set<Socket>();
  readonly #ofAddress: Budget;

  constructor(server: Server, ofAddressMax: number) {
    this.#ofAddress = new Budget({
      things: "connections from this address",
      remedy: "Close some of them.",
      ofOwner: () => ofAddressMax || Number.POSITIVE_INFINITY,
    });
    server.on("connection", (socket: Socket) => this.#add(socket));
  }

  /** Closes all of them. */
  destroy(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #add(socket: Socket): void {
    // A connection that is handed back to its server (`listen.ts`) is no further one.
    if (this.#sockets.has(socket)) return;
    let held: Hold;
    try {
      held = this.#ofAddress.acquire(networkOf(undefined, socket.remoteAddress, false) ?? "");
    } catch {
      return void socket.destroy();
    }
    this.#sockets.add(socket);
    socket.once("close", () => {
      this.#sockets.delete(socket);
      held[Symbol.dispose]();
    });
  }
}

/**
 * The calls of connections over HTTP/1.1 whose answers are not sent yet. Node starts all calls that one
 * packet brings, without a pause; no client that is in use sends its next call before it has the answer.
 */
export class PipelinedCalls {
  readonly #open = new WeakMap<Duplex, ServerResponse[]>();

  /** Notes a call. Gives false, and closes the connection, when too many answers before it are not sent. */
  admit({ socket }: IncomingMessage, answer: ServerResponse): boolean {
    if (socket.destroyed) return false;
    // Those that have ended count until they are sent: many calls of one packet may be answered at once.
    const open = this.#of(socket).filter(
      ({ writableFinished, destroyed }) => !writableFinished && !destroyed,
    );
    if (open.length >= LIMITS.pipelinedCallsMax) {
      socket.destroy();
      return false;
    }
    this.#open.set(socket, [...open, answer]);
    return true;
  }

  /** Tells whether the answer of a call of the connection has not ended. */
  has(socket: Duplex): boolean {
    return this.#of(socket).some(({ writableEnded, destroyed }) => !writableEnded && !destroyed);
  }

  #of(socket: Duplex): readonly ServerResponse[] {
    return this.#open.get(socket) ?? [];
  }
}

/** Counts the pieces of a body. */
class Pieces {
  #count = 0;
  #bytes = 0;

  /** Notes a piece. Tells whether there are too many of too few bytes: each costs as much as a large one. */
  areTiny(bytes: number): boolean {
    this.#count += 1;
    this.#bytes += bytes;
    return this.#count > LIMITS.bodyPiecesMin && this.#bytes < this.#count * LIMITS.bodyPieceBytesMin;
  }
}

/** A call over HTTP/1.1 whose connection is closed when its body comes in tiny pieces. */
export class BoundedCall extends IncomingMessage {
  readonly #pieces = new Pieces();

  // The parser hands each piece on in the event of its packet, so nothing later would be in time.
  override push(piece: Buffer | null, encoding?: BufferEncoding): boolean {
    if (!piece || !this.#pieces.areTiny(piece.length)) return super.push(piece, encoding);
    this.destroy();
    return false;
  }
}

/** The same over HTTP/2, where a piece is a DATA frame. */
export class BoundedHttp2Call extends Http2ServerRequest {
  readonly #pieces = new Pieces();

  override push(piece: Buffer | null, encoding?: BufferEncoding): boolean {
    if (!piece || !this.#pieces.areTiny(piece.length)) return super.push(piece, encoding);
    this.stream.session?.destroy(new Error("too many tiny frames"), constants.NGHTTP2_ENHANCE_YOUR_CALM);
    return false;
  }
}
