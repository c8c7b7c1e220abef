/** Addresses of WebSockets, and the messages on them beside inputs and outputs (contract §5). */

import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import { writeJson } from "../core/json/exact-json.ts";
import { appLength, decodeSlashes, isEndpointId, pathSegments } from "../core/models/endpoint.ts";
import { onGateway, TREES, treeOfHost } from "./paths.ts";

/** The parsed address of a socket. */
export interface SocketAddress {
  /** `run`: frames to a model. `ws`: HTTP over WebSocket. */
  tree: "run" | "ws";
  /** The path below the tree, as it was sent. */
  path: string;
  query: URLSearchParams;
}

/** Parses the request target of an upgrade. `undefined` when no socket is served there. */
export function parseSocketAddress(host: string, target: string): SocketAddress | undefined {
  const [rawPath = "", ...query] = target.split("?");
  const tree = treeOfHost(host.toLowerCase());
  const sent = decodeSlashes(rawPath);
  const path = tree ? onGateway(tree, sent) : sent;
  const below = (prefix: string): string | undefined =>
    path === prefix || path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : undefined;
  const params = new URLSearchParams(query.join("?"));
  const ws = below(TREES.ws.prefix);
  if (ws !== undefined) return { tree: "ws", path: ws, query: params };
  const run = below(TREES.run.prefix) ?? (isEndpointId(path) ? path : undefined);
  return run === undefined ? undefined : { tree: "run", path: run, query: params };
}

export interface RealtimeEndpoint {
  endpoint: string;
  /**
   * The path after the endpoint, with a slash: `/realtime` however often it is repeated, `/custom`, or "".
   */
  path: string;
  /**
   * True when nothing follows the endpoint: a raw socket (`ws_connect`, contract §5.4), whose frames are
   * passed on unchanged.
   */
  raw: boolean;
}

/**
 * Finds the endpoint in a path below `/run`: the longest leading part that `isEndpoint` accepts; `undefined`
 * when there is none. Python doubles `/realtime` where the endpoint's own name ends with it (contract §5.1).
 */
export function parseRealtimePath(
  path: string,
  isEndpoint: (endpoint: string) => boolean,
): RealtimeEndpoint | undefined {
  const segments = pathSegments(path);
  for (let count = segments.length; count >= appLength(segments); count--) {
    const endpoint = segments.slice(0, count).join("/");
    if (!isEndpoint(endpoint)) continue;
    const rest = segments.slice(count);
    while (rest.length > 1 && rest.at(-1) === "realtime" && rest.at(-2) === "realtime") rest.pop();
    const raw = rest.length === 0 && segments.at(-1) !== "realtime";
    return { endpoint, path: raw ? "" : `/${rest.join("/") || "realtime"}`, raw };
  }
  return undefined;
}

/** Reads `max_buffering`, 1 to 60 inputs: `undefined` when absent, `"invalid"` for any other value. */
export function readMaxBuffering(value: string | null): number | undefined | "invalid" {
  if (value === null) return undefined;
  const count = /^\d{1,3}$/.test(value) ? Number(value) : 0;
  return count >= 1 && count <= 60 ? count : "invalid";
}

/**
 * Ends a failed handshake. fal's JavaScript client discards its token, fetches another and tries again
 * (contract §5.3).
 */
export const UNAUTHORIZED = writeJson({ status: "error", error: "Unauthorized" });

/** Ends an idle session. fal's JavaScript client ignores the message and connects again at the next send. */
export const TIMEOUT = writeJson({
  type: "x-fal-error",
  error: "TIMEOUT",
  reason: "No inputs for a while; connect again when needed.",
});

/**
 * Encodes an error as clients read it: `INTERNAL_ERROR` when the engine or the platform failed,
 * `INVALID_INPUT` with the faults in `detail`, and for every other error, such as a refused handshake or one
 * session too many, the code of the catalogue in capitals.
 */
export function errorMessage({ code, message, faults }: ErrorInfo): string {
  const { kind } = CATALOGUE[code];
  const failed = (kind === "request" && code !== "concurrent_requests_limit") || kind === "model";
  const error = failed ? "INTERNAL_ERROR" : kind === "input" ? "INVALID_INPUT" : code.toUpperCase();
  const first = faults?.[0];
  const reason = first ? `${first.loc.slice(1).join(".") || "input"}: ${first.msg}` : message;
  return writeJson({ type: "x-fal-error", error, reason, ...(faults && { detail: faults }) });
}

/** Reports how long the engine had an input. Clients ignore the message. */
export function timingMessage(seconds: number): string {
  const timing = Math.round(seconds * 1e6) / 1e6;
  return writeJson({ type: "x-fal-message", action: "timings", timing });
}

/** Reports how many inputs were lost with an engine that is replaced. Clients ignore the message. */
export function resumedMessage(lost: number): string {
  return writeJson({ type: "x-fal-message", action: "resumed", lost });
}

/** Opens an answer of HTTP over WebSocket (contract §5.5). */
export function startFrame(requestId: string, status: number, headers: Record<string, string>): string {
  return writeJson({ type: "start", request_id: requestId, status, headers });
}

/** Ends an answer of HTTP over WebSocket (contract §5.5). `seconds`: from the payload to the first byte. */
export function endFrame(requestId: string, status: number, seconds: number): string {
  const firstByteSeconds = Math.round(seconds * 1e4) / 1e4;
  return writeJson({
    type: "end",
    request_id: requestId,
    status,
    time_to_first_byte_seconds: firstByteSeconds,
  });
}

/**
 * Tells whether clients may take a body sent as text for a start or end frame: an object that has `type` and
 * `request_id`, perhaps further inside. It is not parsed, since an output may be large.
 */
export function mayLookLikeFrame(body: string): boolean {
  return body.startsWith("{") && body.includes('"request_id"') && body.includes('"type"');
}
