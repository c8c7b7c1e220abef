/**
 * fal's URL shapes (contract §1): what a path on the queue tree asks for, and which of our trees a fal host
 * is.
 */
import { appLength, isEndpointId, pathSegments } from "../core/models/endpoint.ts";

/**
 * The trees of routes. `prefix`: where the gateway serves a tree by path; `hosts`: fal's own names for it,
 * the usual one first; `root`: where the tree begins on those hosts, when that is not `/`.
 */
export const TREES = {
  queue: { prefix: "/queue", hosts: ["queue.fal.run", "queue.falrun.com"], root: "" },
  run: { prefix: "/run", hosts: ["fal.run", "falrun.com"], root: "" },
  ws: { prefix: "/ws", hosts: ["ws.fal.run"], root: "" },
  rest: { prefix: "/rest", hosts: ["rest.fal.ai", "rest.alpha.fal.ai"], root: "" },
  files: { prefix: "/files", hosts: ["v3.fal.media", "v3b.fal.media", "fal.media"], root: "/files" },
  platform: { prefix: "/v1", hosts: ["api.fal.ai"], root: "/v1" },
  /** fal's web site: what a model's page serves to programs lies on the gateway where it lies there. */
  web: { prefix: "", hosts: ["fal.ai"], root: "" },
} as const satisfies Record<string, Tree>;

export interface Tree {
  prefix: string;
  hosts: readonly string[];
  root: string;
}

const BY_HOST: ReadonlyMap<string, Tree> = new Map(
  Object.values(TREES).flatMap((tree): [string, Tree][] => tree.hosts.map((host) => [host, tree])),
);

/**
 * The tree that fal serves under a host name; `undefined` for any other name or address.
 *
 * @param authority as in a URL or a `Host` header, in lower case, with or without a port. Asked for every request.
 */
export function treeOfHost(authority: string): Tree | undefined {
  const colon = authority.lastIndexOf(":");
  return BY_HOST.get(colon < 0 ? authority : authority.slice(0, colon));
}

/**
 * Where a path of a tree's host lies on the gateway. `onGateway(TREES.queue, "/fal-ai/x") ===
 * "/queue/fal-ai/x"`, and `onGateway(TREES.files, "/files/ab/c.png") === "/files/ab/c.png"`. It never leaves
 * the tree.
 */
export function onGateway({ prefix, root }: Tree, path: string): string {
  if (root !== "" && (path === root || path.startsWith(`${root}/`))) return prefix + path.slice(root.length);
  return prefix + path;
}

export type QueueVerb = "submit" | "status" | "stream" | "result" | "cancel" | "rerun";

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
  // Our addition: fal's queue has no such verb.
  ["rerun", "rerun"],
]);

/**
 * What a path below the queue's root asks for; `undefined` when it fits no shape. Trailing and doubled
 * slashes are forgiven; both the short (`owner/alias/requests/…`) and the full form
 * (`owner/alias/path/requests/…`) are understood.
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
export const QUEUE_METHODS: Record<QueueVerb, string> = {
  submit: "POST",
  status: "GET",
  stream: "GET",
  result: "GET",
  cancel: "PUT",
  rerun: "POST",
};

/**
 * The path on this gateway that an `x-fal-target-url` means (contract §1.5): host → tree, path and query
 * kept. `undefined` for anything that is not one of fal's hosts: no request ever leaves this process on a
 * caller's word. And for what would begin with `//` here, on the tree at the root: whoever joins that to an
 * address reads a host name.
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
  const tree = treeOfHost(target.hostname);
  const path = tree && onGateway(tree, target.pathname) + target.search;
  return path?.startsWith("//") ? undefined : path;
}
