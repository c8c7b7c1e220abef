import type { IncomingMessage } from "node:http";
import type { Context } from "hono";

/** The parts of a call that the permissions of its key are checked against. */
export interface Call {
  /** The address that the connection comes from; `undefined` within this process. */
  remoteAddress: string | undefined;
  /** `X-Forwarded-For`, which counts only behind a trusted proxy. */
  forwardedFor: string | undefined;
  /** The call may change something. */
  writes: boolean;
}

/**
 * Reads these parts of a call over HTTP. Calls that are no GET and no HEAD write.
 *
 * @param options.writes for a GET that writes too, such as a run
 */
export function callOf(c: Context, { writes }: { writes?: true } = {}): Call {
  const { incoming } = (c.env ?? {}) as { incoming?: IncomingMessage };
  return {
    remoteAddress: incoming?.socket.remoteAddress,
    forwardedFor: c.req.header("x-forwarded-for"),
    writes: writes ?? (c.req.method !== "GET" && c.req.method !== "HEAD"),
  };
}

/** Reads these parts of a call that changes nothing, whatever its method. */
export const readingCallOf = (c: Context): Call => ({ ...callOf(c), writes: false });

/** Reads these parts of an upgrade to a WebSocket, on which inputs are sent. */
export const callOfUpgrade = ({ headers, socket }: IncomingMessage): Call => ({
  remoteAddress: socket?.remoteAddress,
  forwardedFor: [headers["x-forwarded-for"]].flat().at(-1),
  writes: true,
});
