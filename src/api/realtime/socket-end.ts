/** Writing to sockets and ending them, so that callers who do not read or answer use up nothing. */
import { WebSocket } from "ws";
import { LIMITS } from "../../core/limits.ts";

/** A socket that the gateway serves. */
export interface ServedSocket {
  /**
   * Ends the socket because the gateway stops. Resolves when its session has ended; the socket itself may
   * still be closing.
   */
  goAway(): Promise<void>;
}

/** A socket whose caller is known, before its handshake is answered. */
export interface OpenedSocket {
  ownerId: string;
  serve(ws: WebSocket): ServedSocket;
}

/**
 * The most bytes of UTF-8 that a close frame can have beside its code (RFC 6455 §5.5); `ws` throws for more.
 */
const REASON_BYTES_MAX = 123;

/**
 * Ends a socket with a close frame, whose reason is truncated to fit. Terminates it without a timely answer.
 */
export function endSocket(ws: WebSocket, code = 1000, reason = ""): void {
  if (ws.readyState === WebSocket.CLOSING || ws.readyState === WebSocket.CLOSED) return;
  // Decoded as the middle of a stream, which leaves out a character that is cut in two.
  ws.close(
    code,
    new TextDecoder().decode(Buffer.from(reason).subarray(0, REASON_BYTES_MAX), { stream: true }),
  );
  const timer = setTimeout(() => ws.terminate(), LIMITS.socketCloseMs);
  ws.once("close", () => clearTimeout(timer));
}

/** Sends, or terminates the socket when its caller has stopped reading, so that nothing accumulates. */
export function sendOrTerminate(
  ws: WebSocket,
  data: string | Uint8Array,
  binary = typeof data !== "string",
): void {
  if (ws.readyState !== WebSocket.OPEN) return;
  if (ws.bufferedAmount > LIMITS.socketBacklogBytesMax) ws.terminate();
  else ws.send(data, { binary });
}

/** Terminates the sockets with the most unread bytes until all of them together have at most `bytesMax`. */
export function shedBacklog(
  sockets: Iterable<Pick<WebSocket, "bufferedAmount" | "terminate">>,
  bytesMax: number,
): void {
  const lagging = [...sockets]
    .filter(({ bufferedAmount }) => bufferedAmount > 0)
    .map((ws) => ({ ws, bytes: ws.bufferedAmount }));
  lagging.sort((a, b) => b.bytes - a.bytes);
  let unread = lagging.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { ws, bytes } of lagging) {
    if (unread <= bytesMax) return;
    ws.terminate();
    unread -= bytes;
  }
}

/**
 * Pings a peer, and terminates the socket when too many pings in a row were not answered. The answers of a
 * paused socket are not read, and it is not judged by them. Returns a function that stops.
 */
export function startPings(ws: WebSocket): () => void {
  let unanswered = 0;
  ws.on("pong", () => {
    unanswered = 0;
  });
  const timer = setInterval(() => {
    if (ws.isPaused) unanswered = 0;
    if (unanswered >= LIMITS.socketPingsUnansweredMax) {
      ws.terminate();
      return;
    }
    unanswered += 1;
    ws.ping();
  }, LIMITS.keepAliveMs);
  return () => clearInterval(timer);
}
