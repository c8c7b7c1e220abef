/** Reuse of node results, our addition to fal's wire: asked for with a header, told with the same one. */
import { TemperaError } from "../core/errors/tempera-error.ts";

/** At a pipeline's submit `off` has every node run; at a node's result it says `hit` or `miss`. */
export const CACHE_HEADER = "x-tempera-cache";

/**
 * Whether the results of nodes may be earlier ones: yes, unless the caller says `off`. Throws `bad_request`
 * for any other word.
 */
export function wantsCache(header: string | undefined): boolean {
  const word = header?.trim().toLowerCase() ?? "on";
  if (word === "on" || word === "off") return word === "on";
  throw new TemperaError(
    "bad_request",
    `X-Tempera-Cache says "${word.slice(0, 40)}"; say "off", or leave it out.`,
  );
}
