/**
 * An endpoint is what a client calls: `owner/alias[/path]` (contract §1.2). Its app, `owner/alias`, is what
 * status, result and cancel are addressed by; with the namespaces `workflows` and `comfy` both take one
 * segment more.
 */
const NAMESPACES = new Set(["workflows", "comfy"]);

/**
 * The endpoint that runs a workflow given in the call itself. It is an app of its own, the only one of its
 * namespace without an owner (contract §11.1).
 */
export const EXECUTE = "workflows/execute";

/**
 * First path segments of the server's own routes, so no endpoint's owner may have such a name (design §4).
 */
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

/** Splits a path into segments; empty ones (from doubled or trailing slashes) are dropped. */
export function pathSegments(path: string): string[] {
  return path.split("/").filter((segment) => segment !== "");
}

/**
 * Reads `%2F` in a path as a slash. fal's clients do not encode an endpoint id; callers who write their own
 * requests often do, with `encodeURIComponent`.
 */
export function decodeSlashes(path: string): string {
  return path.replace(/%2f/gi, "/");
}

/** Counts the leading segments that name the app of this path. */
export function appLength(segments: readonly string[]): number {
  return NAMESPACES.has(segments[0] ?? "") && `${segments[0]}/${segments[1]}` !== EXECUTE ? 3 : 2;
}

/** Returns the app of an endpoint id. `appOf("fal-ai/wan/v2.2-a14b/text-to-video") === "fal-ai/wan"` */
export function appOf(endpoint: string): string {
  const segments = pathSegments(endpoint);
  return segments.slice(0, appLength(segments)).join("/");
}

/**
 * Tells whether a string has the form of an endpoint id, whether or not a model serves it. Behind the app, a
 * segment `requests` is not allowed: it would be read as the start of a request's address.
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
