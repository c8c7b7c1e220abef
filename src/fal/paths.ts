/** fal's URL shapes (contract §1): what a path on the queue tree asks for, and which of our trees a fal host is. */
import { appLength, isEndpointId, pathSegments } from "../core/endpoint.ts";

/** The trees of routes. `prefix` is where the gateway serves them by path; `hosts` are fal's own names for them. */
export const TREES = {
  queue: { prefix: "/queue", hosts: ["queue.fal.run", "queue.falrun.com"] },
  run: { prefix: "/run", hosts: ["fal.run", "falrun.com"] },
  rest: { prefix: "/rest", hosts: ["rest.fal.ai", "rest.alpha.fal.ai"] },
  files: { prefix: "/files", hosts: ["v3.fal.media", "v3b.fal.media", "fal.media"] },
} as const;

export type QueueVerb = "submit" | "status" | "stream" | "result" | "cancel";

export interface QueuePath {
  verb: QueueVerb;
  /** Submit: the endpoint id. Others: what stands before `/requests`, short or full form. */
  endpoint: string;
  requestId?: string;
}

const AFTER_REQUEST: ReadonlyMap<string, QueueVerb> = new Map([
  ["", "result"],
  ["response", "result"],
  ["status", "status"],
  ["status/stream", "stream"],
  ["cancel", "cancel"],
]);

/**
 * What a path below the queue's root asks for; `undefined` when it fits no shape. Trailing and doubled slashes are
 * forgiven; both the short (`owner/alias/requests/…`) and the full form (`owner/alias/path/requests/…`) are understood.
 */
export function parseQueuePath(path: string): QueuePath | undefined {
  const segments = pathSegments(path);
  const at = segments.indexOf("requests", appLength(segments));
  if (at < 0) {
    const endpoint = segments.join("/");
    return isEndpointId(endpoint) ? { verb: "submit", endpoint } : undefined;
  }
  const [requestId, ...rest] = segments.slice(at + 1);
  const verb = AFTER_REQUEST.get(rest.join("/"));
  if (!requestId || !verb) return undefined;
  return { verb, endpoint: segments.slice(0, at).join("/"), requestId };
}

/** Which method each verb answers to (contract §1.3). */
export const QUEUE_METHODS: Record<QueueVerb, string> = { submit: "POST", status: "GET", stream: "GET", result: "GET", cancel: "PUT" };

/**
 * The path on this gateway that an `x-fal-target-url` means (contract §1.5): host → tree, path and query kept.
 * `undefined` for anything that is not one of fal's hosts: no request ever leaves this process on a caller's word.
 */
export function proxyTarget(url: string): string | undefined {
  let target: URL;
  try {
    target = new URL(url);
  } catch {
    return undefined;
  }
  if (target.protocol !== "https:" && target.protocol !== "http:") return undefined;
  if (target.username !== "" || target.password !== "" || target.port !== "") return undefined;
  const tree = Object.values(TREES).find(({ hosts }) => (hosts as readonly string[]).includes(target.hostname));
  return tree && `${tree.prefix}${target.pathname}${target.search}`;
}
