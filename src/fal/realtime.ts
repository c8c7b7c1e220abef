/** Where sockets lead and what is said on them beside inputs and outputs (contract §5). */
import { appLength, isEndpointId, pathSegments } from "../core/models/endpoint.ts";
import { CATALOGUE } from "../core/errors/catalogue.ts";
import type { ErrorInfo } from "../core/errors/tempera-error.ts";
import { onGateway, TREES, treeOfHost } from "./paths.ts";

/** What a socket's address asks for. */
export interface SocketAddress {
  /** `run`: frames to a model. `ws`: HTTP over WebSocket. */
  tree: "run" | "ws";
  /** Below the tree, as it was sent. */
  path: string;
  query: URLSearchParams;
}

/** Reads the target of an upgrade. `undefined`: no socket is served there. */
export function parseSocketAddress(host: string, target: string): SocketAddress | undefined {
  const [rawPath = "", ...query] = target.split("?");
  const tree = treeOfHost(host.toLowerCase());
  const path = tree ? onGateway(tree, rawPath) : rawPath;
  const below = (prefix: string): string | undefined =>
    path === prefix || path.startsWith(`${prefix}/`) ? path.slice(prefix.length) : undefined;
  const params = new URLSearchParams(query.join("?"));
  const ws = below(TREES.ws.prefix);
  if (ws !== undefined) return { tree: "ws", path: ws, query: params };
  const run = below(TREES.run.prefix) ?? (isEndpointId(path) ? path : undefined);
  return run === undefined ? undefined : { tree: "run", path: run, query: params };
}

export interface RealtimePlace {
  endpoint: string;
  /**
   * What stands behind the endpoint, with a slash: `/realtime` however often it was said, `/custom`, or
   * nothing.
   */
  path: string;
  /**
   * Nothing behind the endpoint: a raw socket (`ws_connect`, contract §5.4), whose frames are passed on
   * untouched.
   */
  raw: boolean;
}

/**
 * Which model a path below `/run` means: the longest leading part that is an endpoint. Python doubles
 * `/realtime` where the endpoint's own name ends with it (contract §5.1). `undefined`: none.
 */
export function realtimePlace(
  path: string,
  isEndpoint: (endpoint: string) => boolean,
): RealtimePlace | undefined {
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

/** `max_buffering`: 1 to 60 inputs; `undefined` when absent, `"invalid"` for anything else. */
export function readMaxBuffering(value: string | null): number | undefined | "invalid" {
  if (value === null) return undefined;
  const count = /^\d{1,3}$/.test(value) ? Number(value) : 0;
  return count >= 1 && count <= 60 ? count : "invalid";
}

/** Ends a failed handshake: JS forgets its token, fetches another and tries again (contract §5.3). */
export const UNAUTHORIZED = JSON.stringify({ status: "error", error: "Unauthorized" });

/** JS swallows it and connects again at the next send. */
export const TIMEOUT = JSON.stringify({
  type: "x-fal-error",
  error: "TIMEOUT",
  reason: "No inputs for a while; connect again when needed.",
});

/**
 * An error as clients read it: `INTERNAL_ERROR` when the engine or the platform failed, `INVALID_INPUT` with
 * the faults in `detail`, else (a refusal at the door, one session too many) the code of the catalogue in
 * capitals.
 */
export function errorMessage({ code, message, faults }: ErrorInfo): string {
  const { kind } = CATALOGUE[code];
  const failed = (kind === "request" && code !== "concurrent_requests_limit") || kind === "model";
  const error = failed ? "INTERNAL_ERROR" : kind === "input" ? "INVALID_INPUT" : code.toUpperCase();
  const first = faults?.[0];
  const reason = first ? `${first.loc.slice(1).join(".") || "input"}: ${first.msg}` : message;
  return JSON.stringify({ type: "x-fal-error", error, reason, ...(faults && { detail: faults }) });
}

/**
 * What clients let pass unseen. `timing`: seconds the engine had an input. `lost`: inputs that went with a
 * lost engine.
 */
export const timingMessage = (seconds: number): string =>
  JSON.stringify({ type: "x-fal-message", action: "timings", timing: Math.round(seconds * 1e6) / 1e6 });
export const resumedMessage = (lost: number): string =>
  JSON.stringify({ type: "x-fal-message", action: "resumed", lost });

/** HTTP over WebSocket (contract §5.5). */
export const startFrame = (requestId: string, status: number, headers: Record<string, string>): string =>
  JSON.stringify({ type: "start", request_id: requestId, status, headers });
export const endFrame = (requestId: string, status: number, seconds: number): string =>
  JSON.stringify({
    type: "end",
    request_id: requestId,
    status,
    time_to_first_byte_seconds: Math.round(seconds * 1e4) / 1e4,
  });

/**
 * Whether a body sent as text would be taken for a start or end frame: one with both `type` and `request_id`.
 */
export function looksLikeFrame(body: string): boolean {
  if (!body.includes('"request_id"') || !body.includes('"type"')) return false;
  try {
    const value = JSON.parse(body);
    return typeof value === "object" && value !== null && "type" in value && "request_id" in value;
  } catch {
    return false;
  }
}
