/**
 * Optimistic locking. A resource that several people may change at the same time has a revision: a number
 * that grows with each change, sent as its ETag. A change names the revision that it is based on in
 * `If-Match`, and is refused with 412 `precondition_failed` when another change came first. The store
 * compares and changes in one statement; a comparison here would leave a gap between the two.
 *
 * A route states `ifMatch: "required"` (or `"optional"` where fal's clients call it, which send no
 * `If-Match`), hands `request.revision` to its store, and returns `new Reply(body, etag(revision))`.
 */
import { TemperaError } from "../../../core/errors/tempera-error.ts";

/** Returns the header that carries a revision. */
export function etag(revision: number): Record<string, string> {
  return { etag: `"${revision}"` };
}

/**
 * Returns the revision that `If-Match` names; `undefined` for `*`, and for an absent header where it is
 * optional.
 *
 * Throws `precondition_required` when the header is absent and required, and `precondition_failed` for a
 * value that is no revision.
 */
export function ifMatchRevision(
  ifMatch: string | undefined,
  kind: "required" | "optional",
): number | undefined {
  if (ifMatch === undefined && kind === "required") throw new TemperaError("precondition_required");
  if (ifMatch === undefined || ifMatch.trim() === "*") return undefined;
  const [, revision] = /^\s*(?:W\/)?"(\d{1,15})"\s*$/.exec(ifMatch) ?? [];
  if (revision === undefined) throw new TemperaError("precondition_failed");
  return Number(revision);
}
