/** Reuse of node results, our addition to fal's wire. The same header requests it and reports it. */
import { TemperaError } from "../core/errors/tempera-error.ts";

/** On a pipeline's submit, `off` makes every node run. On a node's result, it is `hit` or `miss`. */
export const CACHE_HEADER = "x-tempera-cache";

/**
 * Reads `CACHE_HEADER`: true when a node may reuse an existing result, which is the default, and false for
 * `off`. Throws `bad_request` for any other value.
 */
export function wantsCache(header: string | undefined): boolean {
  const word = header?.trim().toLowerCase() ?? "on";
  if (word === "on" || word === "off") return word === "on";
  throw new TemperaError(
    "bad_request",
    `X-Tempera-Cache is "${word.slice(0, 40)}"; send "off", or leave the header out.`,
  );
}
