import type { Context } from "hono";
import { TREES } from "../fal/index.ts";

/** Where the path of an absolute URL begins: after `http://` and the host. Written out, since every status poll asks. */
const pathStart = (url: string): number => {
  const at = url.indexOf("/", url.indexOf("://") + 3);
  return at < 0 ? url.length : at;
};

/** The path as it was sent, not decoded: ids and endpoint names are plain ASCII. */
export function rawPath(c: Context): string {
  const { url } = c.req;
  const query = url.indexOf("?");
  return url.slice(pathStart(url), query < 0 ? undefined : query);
}

/** The root of a tree as this caller reaches it: `http://localhost:8080/queue`. Behind a proxy, configure the public URL. */
export function addressOf(c: Context, tree: keyof typeof TREES, publicUrl: string | undefined): string {
  return `${publicUrl ?? c.req.url.slice(0, pathStart(c.req.url))}${TREES[tree].prefix}`;
}
