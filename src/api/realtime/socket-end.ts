/** How sockets are written to and ended: a caller who does not read or answer holds nothing. */
import { WebSocket } from "ws";
import { LIMITS } from "../../core/limits.ts";

/** A socket of ours and how it wants to be told to end. */
export interface ServedSocket {
  /**
   * The gateway goes away. Resolves when nobody needs to be told any more; the socket may still be closing.
   */
  goAway(): Promise<void>;
}

/**
 * The most bytes of UTF-8 that fit into a close frame beside its code (RFC 6455 §5.5); `ws` throws for more.
 */
const REASON_BYTES_MAX = 123;

/**
 * Ends a socket: a close frame with as much of the reason as fits, and a cut when it is not answered in time.
 */
export function endSocket(ws: WebSocket, code = 1000, reason = ""): void {
  if (ws.readyState === WebSocket.CLOSING || ws.readyState === WebSocket.CLOSED) return;
  // As the middle of a stream, so that a character that is cut in two is left out.
  ws.close(
    code,
    new TextDecoder().decode(Buffer.from(reason).subarray(0, REASON_BYTES_MAX), { stream: true }),
  );
  const timer = setTimeout(() => ws.terminate(), LIMITS.socketCloseMs);
  ws.once("close", () => clearTimeout(timer));
}

/** Sends, unless the caller has stopped reading: then the socket is cut, so that nothing piles up. */
export function sendOn(ws: WebSocket, data: string | Uint8Array, binary = typeof data !== "string"): void {
  if (ws.readyState !== WebSocket.OPEN) return;
  if (ws.bufferedAmount > LIMITS.socketBacklogBytesMax) ws.terminate();
  else ws.send(data, { binary });
}

/** Cuts the sockets with the most outputs unread until all of them together hold at most `bytesMax`. */
export function shedBacklog(
  sockets: Iterable<Pick<WebSocket, "bufferedAmount" | "terminate">>,
  bytesMax: number,
): void {
  const lagging = [...sockets]
    .filter(({ bufferedAmount }) => bufferedAmount > 0)
    .map((ws) => ({ ws, bytes: ws.bufferedAmount }));
  lagging.sort((a, b) => b.bytes - a.bytes);
  let kept = lagging.reduce((sum, { bytes }) => sum + bytes, 0);
  for (const { ws, bytes } of lagging) {
    if (kept <= bytesMax) return;
    ws.terminate();
    kept -= bytes;
  }
}

/** Pings; a peer that has not answered the last one is gone. Returns how to stop. */
export function keepAlive(ws: WebSocket): () => void {
  let answered = true;
  ws.on("pong", () => {
    answered = true;
  });
  const timer = setInterval(() => {
    if (!answered) {
      ws.terminate();
      return;
    }
    answered = false;
    ws.ping();
  }, LIMITS.socketPingMs);
  return () => clearInterval(timer);
}
