/** How a caller addresses the gateway, and how addresses given to that caller begin (contract §1.5). */
import type { Context } from "hono";
import { onGateway, TREES, type Tree, treeOfHost } from "../../fal/index.ts";

/**
 * The variable of a request with the origin its caller used, when a proxy in front of the gateway is believed
 * about it.
 */
export const FORWARDED_ORIGIN = "forwardedOrigin";

/**
 * Where the path of an absolute URL begins: after `http://` and the host. Written out, since every status
 * poll asks.
 */
const pathStart = (url: string): number => {
  const at = url.indexOf("/", url.indexOf("://") + 3);
  return at < 0 ? url.length : at;
};

/** Host and port of an absolute URL. */
export const authorityOf = (url: string): string => url.slice(url.indexOf("://") + 3, pathStart(url));

/** `https://queue.fal.run:8443`: scheme, host and port that the caller used. */
const originOf = (c: Context): string => c.get(FORWARDED_ORIGIN) ?? c.req.url.slice(0, pathStart(c.req.url));

/** The path as it was sent, not decoded, and on its tree's prefix: ids and endpoint names are plain ASCII. */
export function rawPath(c: Context): string {
  const { url } = c.req;
  const query = url.indexOf("?");
  const path = url.slice(pathStart(url), query < 0 ? undefined : query);
  const tree = treeOfHost(authorityOf(originOf(c)));
  return tree ? onGateway(tree, path) : path;
}

/**
 * The root of a tree as this caller reaches it, without a slash at its end.
 *
 * By prefix: `http://localhost:8080/queue`, or below the public URL when one is configured. By a host name of
 * fal's: `https://queue.fal.run` when that is the tree's own, else the public URL, else fal's usual name for
 * that tree on the same port: who sends one of fal's names here is taken to send all of them.
 */
export function addressOf(c: Context, tree: keyof typeof TREES, publicUrl: string | undefined): string {
  const origin = originOf(c);
  const cameBy = treeOfHost(authorityOf(origin));
  const wanted: Tree = TREES[tree];
  if (cameBy === wanted) return origin + wanted.root;
  if (publicUrl !== undefined || !cameBy) return (publicUrl ?? origin) + wanted.prefix;
  const [scheme, authority = ""] = origin.split("://");
  const colon = authority.lastIndexOf(":");
  return `${scheme}://${wanted.hosts[0]}${colon < 0 ? "" : authority.slice(colon)}${wanted.root}`;
}

/** A host name or address with an optional port: what may stand in addresses that are given out. */
const AUTHORITY = /^(?:[a-z0-9_](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::\d{1,5})?$/;

/**
 * The origin that a proxy in front of the gateway says the caller used; `undefined` when it says nothing that
 * makes sense.
 */
export function forwardedOrigin(request: Request): string | undefined {
  const first = (name: string) => request.headers.get(name)?.split(",")[0]?.trim().toLowerCase();
  const proto = first("x-forwarded-proto");
  const host = first("x-forwarded-host");
  const scheme = proto === "https" || proto === "http" ? proto : undefined;
  const authority = host !== undefined && AUTHORITY.test(host) ? host : undefined;
  if (!scheme && !authority) return undefined;
  return `${scheme ?? request.url.slice(0, request.url.indexOf("://"))}://${authority ?? authorityOf(request.url)}`;
}
