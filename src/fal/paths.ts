/**
 * fal's URL shapes (contract §1): the trees of routes, the fal host of each, and the paths of the queue tree.
 */
import { appLength, isEndpointId, pathSegments } from "../core/models/endpoint.ts";

/**
 * The trees of routes. `prefix`: the path under which the gateway serves the tree. `hosts`: fal's own host
 * names for it, the usual one first. `root`: the path of the tree on those hosts, empty for `/`.
 */
export const TREES = {
  queue: { prefix: "/queue", hosts: ["queue.fal.run", "queue.falrun.com"], root: "" },
  run: { prefix: "/run", hosts: ["fal.run", "falrun.com"], root: "" },
  ws: { prefix: "/ws", hosts: ["ws.fal.run"], root: "" },
  rest: { prefix: "/rest", hosts: ["rest.fal.ai", "rest.alpha.fal.ai"], root: "" },
  files: { prefix: "/files", hosts: ["v3.fal.media", "v3b.fal.media", "fal.media"], root: "/files" },
  platform: { prefix: "/v1", hosts: ["api.fal.ai"], root: "/v1" },
  /** fal's web site: the machine-readable parts of a model's page have the same paths on the gateway. */
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
 * Finds the tree that fal serves under a host name; `undefined` for any other name or address. Called for
 * every request.
 *
 * @param authority as in a URL or a `Host` header, in lower case, with or without a port
 */
export function treeOfHost(authority: string): Tree | undefined {
  const colon = authority.lastIndexOf(":");
  return BY_HOST.get(colon < 0 ? authority : authority.slice(0, colon));
}

/**
 * Translates a path on a tree's host into the path on the gateway, which is always within the tree:
 * `onGateway(TREES.queue, "/fal-ai/x") === "/queue/fal-ai/x"`, and
 * `onGateway(TREES.files, "/files/ab/c.png") === "/files/ab/c.png"`.
 */
export function onGateway({ prefix, root }: Tree, path: string): string {
  if (root !== "" && (path === root || path.startsWith(`${root}/`))) return prefix + path.slice(root.length);
  return prefix + path;
}

export type QueueAction = "submit" | "status" | "stream" | "result" | "cancel" | "rerun";

export interface QueuePath {
  action: QueueAction;
  /** Submit: the endpoint id. Others: the path before `/requests`, in its short or full form. */
  endpoint: string;
  requestId?: string;
}

const AFTER_REQUEST: ReadonlyMap<string, QueueAction> = new Map([
  ["", "result"],
  ["response", "result"],
  ["status", "status"],
  ["status/stream", "stream"],
  ["cancel", "cancel"],
  // Our addition: fal's queue has no rerun.
  ["rerun", "rerun"],
]);

/**
 * Parses a path below the queue's root; `undefined` when it fits no shape. Trailing and doubled slashes are
 * ignored. Both the short form (`owner/alias/requests/…`) and the full form (`owner/alias/path/requests/…`)
 * are accepted.
 */
export function parseQueuePath(path: string): QueuePath | undefined {
  const segments = pathSegments(path);
  const at = segments.indexOf("requests", appLength(segments));
  if (at < 0) {
    const endpoint = segments.join("/");
    return isEndpointId(endpoint) ? { action: "submit", endpoint } : undefined;
  }
  const [requestId, ...rest] = segments.slice(at + 1);
  const action = AFTER_REQUEST.get(rest.join("/"));
  if (!requestId || !action) return undefined;
  return { action, endpoint: segments.slice(0, at).join("/"), requestId };
}

/** The HTTP method of each action (contract §1.3). */
export const QUEUE_METHODS: Record<QueueAction, string> = {
  submit: "POST",
  status: "GET",
  stream: "GET",
  result: "GET",
  cancel: "PUT",
  rerun: "POST",
};

/**
 * Translates an `x-fal-target-url` into the path and query on this gateway (contract §1.5).
 *
 * `undefined` for any host that is not fal's: no request ever leaves this process because a caller named an
 * address. Also `undefined` when the path would begin with `//`: joined to an address, that would be read as
 * a host name.
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
