/**
 * An endpoint is what a client calls: `owner/alias[/path]` (contract §1.2). Its app, `owner/alias`, is what
 * status, result and cancel are addressed by; with the namespaces `workflows` and `comfy` both take one
 * segment more.
 */
const NAMESPACES = new Set(["workflows", "comfy"]);

/**
 * Runs a workflow that comes with the call. It is an app of its own, the only one of its namespace that
 * belongs to nobody (contract §11.1).
 */
export const EXECUTE = "workflows/execute";

/** Names that a tree of routes uses, so they cannot own an endpoint (design §4). */
export const RESERVED_OWNERS = new Set([
  "run",
  "queue",
  "rest",
  "files",
  "ws",
  "api",
  "models",
  "v1",
  "health",
  "metrics",
  "console",
  ".well-known",
]);

const SEGMENT = /^[A-Za-z0-9._-]{1,128}$/;

/** Splits a path into segments; empty ones (doubled or trailing slashes) vanish. */
export const pathSegments = (path: string): string[] => path.split("/").filter((segment) => segment !== "");

/** How many leading segments name the app of this path. */
export const appLength = (segments: readonly string[]): number =>
  NAMESPACES.has(segments[0] ?? "") && `${segments[0]}/${segments[1]}` !== EXECUTE ? 3 : 2;

/** `owner/alias` of an endpoint id. `appOf("fal-ai/wan/v2.2-a14b/text-to-video") === "fal-ai/wan"` */
export function appOf(endpoint: string): string {
  const segments = pathSegments(endpoint);
  return segments.slice(0, appLength(segments)).join("/");
}

/**
 * Whether a string can be an endpoint id at all; says nothing about whether a model answers it. Behind the
 * app, a segment `requests` would be read as the start of a request's address.
 */
export function isEndpointId(id: string): boolean {
  const segments = pathSegments(id);
  return (
    segments.length >= appLength(segments) &&
    !segments.includes("requests", appLength(segments)) &&
    segments.length <= 12 &&
    segments.every((segment) => SEGMENT.test(segment) && segment !== ".." && segment !== ".") &&
    !RESERVED_OWNERS.has(segments[0] ?? "")
  );
}
