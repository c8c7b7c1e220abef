/** Conditions on the entity tag of a file (RFC 9110 §13). */

/** One entity tag, with the sign of a weak one: proxies that change a body's coding make tags weak. */
const TAGS = /(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/g;

interface Conditions {
  ifMatch: string | undefined;
  ifNoneMatch: string | undefined;
}

/**
 * Judges the conditions of a GET or HEAD: `"failed"` is answered with 412, `"unchanged"` with 304.
 *
 * `If-Match` compares strongly, so a weak tag never matches; `If-None-Match` compares weakly (§8.8.3.2).
 *
 * @param tag the opaque part of the file's own tag, which is strong
 */
export function judgeConditions(
  { ifMatch, ifNoneMatch }: Conditions,
  tag: string,
): "failed" | "unchanged" | "met" {
  if (ifMatch !== undefined && !names(ifMatch, tag, { weakly: false })) return "failed";
  if (ifNoneMatch !== undefined && names(ifNoneMatch, tag, { weakly: true })) return "unchanged";
  return "met";
}

/** Reports whether `Range` holds under `If-Range`, which is compared strongly. Files have no date. */
export function isRangeValid(ifRange: string | undefined, tag: string): boolean {
  return ifRange === undefined || ifRange.trim() === `"${tag}"`;
}

/** Reports whether a list of entity tags, or `*`, names a tag. */
function names(list: string, tag: string, { weakly }: { weakly: boolean }): boolean {
  if (list.trim() === "*") return true;
  return [...list.matchAll(TAGS)].some(
    ([, weak, opaque]) => opaque === tag && (weakly || weak === undefined),
  );
}
