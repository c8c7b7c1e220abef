import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { isTemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";
import type { Hold } from "../limits/budget.ts";
import { endSocket } from "./socket-end.ts";

/** Bytes of a ping or pong besides its data: the head and the mask. */
const CONTROL_FRAME_BYTES = 6;

/** Bytes that a piece of a message takes in memory besides its own. Callers may send pieces of one byte. */
const PIECE_OVERHEAD_BYTES = 512;

/**
 * Counts the bytes of a message that is arriving, which `ws` keeps in memory until it is complete, to the
 * budget of bodies. Closes the socket with 1013 when that refuses, and with 1008 when less than
 * `LIMITS.bodyWindowBytesMin` of a message has arrived within `LIMITS.bodyWindowMs`, all of which the socket
 * was read.
 *
 * @param ws without compression: a message that is inflated as it arrives takes more than what is counted
 */
export function countArrivingMessages(ws: WebSocket, socket: Duplex, hold: Hold): void {
  let [messages, seen] = [0, 0];
  let [bytes, pieces] = [0, 0];
  let window: NodeJS.Timeout | undefined;
  /** False while the present window has seen the socket paused: the caller could not send then. */
  let wasRead = true;
  const end = (code: number, reason: string): void => {
    clearInterval(window);
    endSocket(ws, code, reason);
    // The socket would keep further bytes, and nobody reads them.
    ws.pause();
  };
  const startWindow = (): void => {
    let before = 0;
    wasRead = true;
    window = setInterval(() => {
      const isLate = bytes - before < LIMITS.bodyWindowBytesMin;
      if (isLate && wasRead && !socket.isPaused()) end(1008, "The message did not arrive in time.");
      before = bytes;
      wasRead = true;
    }, LIMITS.bodyWindowMs);
  };
  const onControl = (data: Buffer): void => {
    bytes -= data.length + CONTROL_FRAME_BYTES;
  };
  ws.on("message", () => void messages++);
  ws.on("ping", onControl);
  ws.on("pong", onControl);
  const onPiece = (piece: Buffer): void => {
    [bytes, pieces] = messages === seen ? [bytes + piece.length, pieces + 1] : [0, 0];
    seen = messages;
    if (bytes <= 0) {
      clearInterval(window);
      window = undefined;
      pieces = 0;
    } else if (!window) startWindow();
    try {
      hold.resize(Math.max(0, bytes) + pieces * PIECE_OVERHEAD_BYTES);
    } catch (error) {
      if (!isTemperaError(error)) throw error;
      end(1013, error.message);
    }
  };
  const onResume = (): void => {
    wasRead = false;
  };
  // After the listener of `ws`, which has taken the piece by then.
  socket.on("data", onPiece);
  socket.on("resume", onResume);
  ws.once("close", () => {
    clearInterval(window);
    // The part of the budget is given back by then.
    socket.off("data", onPiece);
    socket.off("resume", onResume);
  });
}
