import type { Context } from "hono";
import { TREES } from "../fal/index.ts";

/** The root of a tree as this caller reaches it: `http://localhost:8080/queue`. Behind a proxy, configure the public URL. */
export function addressOf(c: Context, tree: keyof typeof TREES, publicUrl: string | undefined): string {
  return `${publicUrl ?? new URL(c.req.url).origin}${TREES[tree].prefix}`;
}
