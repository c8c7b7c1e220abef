/**
 * Addresses: the one a caller used for the gateway, and the beginnings of those given to it (contract §1.5).
 */
import type { Context } from "hono";
import { decodeSlashes } from "../../core/models/endpoint.ts";
import { onGateway, TREES, type Tree, treeOfHost } from "../../fal/index.ts";

/** The context variable with the origin that the caller used, by the word of a trusted proxy. */
export const FORWARDED_ORIGIN = "forwardedOrigin";

/**
 * Finds the index at which the path of an absolute URL begins. Done by hand instead of by `URL`, since every
 * status poll needs it.
 */
function pathStart(url: string): number {
  const at = url.indexOf("/", url.indexOf("://") + 3);
  return at < 0 ? url.length : at;
}

/** Reads host and port of an absolute URL. */
export function authorityOf(url: string): string {
  return url.slice(url.indexOf("://") + 3, pathStart(url));
}

/** Reads the scheme, host and port that the caller used, as in `https://queue.fal.run:8443`. */
export function originOf(c: Context): string {
  return c.get(FORWARDED_ORIGIN) ?? c.req.url.slice(0, pathStart(c.req.url));
}

/**
 * Reads the path of a call with its tree's prefix. Only slashes are decoded: ids and names of endpoints are
 * plain ASCII.
 */
export function rawPath(c: Context): string {
  const { url } = c.req;
  const query = url.indexOf("?");
  const path = decodeSlashes(url.slice(pathStart(url), query < 0 ? undefined : query));
  const tree = treeOfHost(authorityOf(originOf(c)));
  return tree ? onGateway(tree, path) : path;
}

/**
 * Returns the root address of a tree as this caller reaches it, without a slash at its end.
 *
 * For a caller that used a prefix: `http://localhost:8080/queue`, or a path below the public URL when one is
 * configured. For a caller that used one of fal's host names: `https://queue.fal.run` when that is the tree's
 * own, else the public URL, else fal's usual name for that tree on the same port. A caller whose DNS sends
 * one of fal's names here is assumed to send all of them here.
 */
export function addressOf(c: Context, tree: keyof typeof TREES, publicUrl: string | undefined): string {
  const origin = originOf(c);
  const usedTree = treeOfHost(authorityOf(origin));
  const wanted: Tree = TREES[tree];
  if (usedTree === wanted) return origin + wanted.root;
  if (publicUrl !== undefined || !usedTree) return (publicUrl ?? origin) + wanted.prefix;
  const [scheme, authority = ""] = origin.split("://");
  const colon = authority.lastIndexOf(":");
  return `${scheme}://${wanted.hosts[0]}${colon < 0 ? "" : authority.slice(colon)}${wanted.root}`;
}

/** The configured bases of addresses that are given out. */
export interface PublicAddresses {
  /** Base of all addresses; `undefined`: the address that the caller used. */
  publicUrl: string | undefined;
  /** Base of the addresses of files, on a host name of their own; absent: as for all others. */
  filesUrl?: string | undefined;
}

/** Returns the root address of the files tree for this caller, as `addressOf` does. */
export function filesAddressOf(c: Context, { publicUrl, filesUrl }: PublicAddresses): string {
  return addressOf(c, "files", filesUrl ?? publicUrl);
}

/** A host name or IP address with an optional port, as addresses that are given out may contain it. */
const AUTHORITY = /^(?:[a-z0-9_](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/;

/**
 * Reads the origin that the caller used from the headers of a proxy; `undefined` when they are absent or
 * malformed.
 */
export function forwardedOrigin(request: Request): string | undefined {
  const first = (name: string) => request.headers.get(name)?.split(",")[0]?.trim().toLowerCase();
  const proto = first("x-forwarded-proto");
  const host = first("x-forwarded-host");
  const scheme = proto === "https" || proto === "http" ? proto : undefined;
  const authority = host !== undefined && AUTHORITY.test(host) ? host : undefined;
  if (!scheme && !authority) return undefined;
  const usedScheme = request.url.slice(0, request.url.indexOf("://"));
  return `${scheme ?? usedScheme}://${authority ?? authorityOf(request.url)}`;
}
