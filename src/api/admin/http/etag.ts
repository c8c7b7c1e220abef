/**
 * What several people may change at once has a revision: a number that grows with each change, in its ETag. A
 * change says with `If-Match` which one it was decided upon, and is refused (412 `changed_meanwhile`) when
 * that is no longer the current one. The store compares and changes in one statement; comparing here first
 * would leave a gap.
 *
 * A verb says `ifMatch: "required"` (or `"optional"` where fal's clients, which send none, call it), hands
 * `asked.revision` on to its store, and answers with `new Answered(body, etag(revision))`.
 */
import { TemperaError } from "../../../core/errors/tempera-error.ts";

/** The header that tells a revision. */
export const etag = (revision: number): Record<string, string> => ({ etag: `"${revision}"` });

/**
 * The revision that `If-Match` names; `undefined` for `*`, and for an absent one where it is optional.
 *
 * Throws `version_required` when it is absent and required, `changed_meanwhile` for what no revision ever
 * was.
 */
export function revisionGiven(
  ifMatch: string | undefined,
  kind: "required" | "optional",
): number | undefined {
  if (ifMatch === undefined && kind === "required") throw new TemperaError("version_required");
  if (ifMatch === undefined || ifMatch.trim() === "*") return undefined;
  const [, revision] = /^\s*(?:W\/)?"(\d{1,15})"\s*$/.exec(ifMatch) ?? [];
  if (revision === undefined) throw new TemperaError("changed_meanwhile");
  return Number(revision);
}
