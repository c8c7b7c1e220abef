import type { z } from "@hono/zod-openapi";
import { distance } from "fastest-levenshtein";
import type { InputFault } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";

/** A name that was meant, when one is at most this many letters away. */
const TYPO_LETTERS = 3;

/**
 * What does not fit a schema, in the words that faults of models have.
 *
 * @param known the fields of the schema, for those that are nearly one
 */
export function faultsOf(
  { issues }: z.ZodError,
  value: unknown,
  where: "path" | "query" | "body",
  known: readonly string[],
): InputFault[] {
  return issues.slice(0, LIMITS.inputFaultsMax).map((issue) => {
    const loc = [where, ...issue.path.map((part) => (typeof part === "number" ? part : String(part)))];
    if (issue.code === "invalid_type" && valueAt(value, issue.path) === undefined)
      return { loc, msg: "Field required", type: "missing" };
    if (issue.code === "invalid_type") {
      return { loc, msg: `Input should be a valid ${issue.expected}`, type: `${issue.expected}_type` };
    }
    if (issue.code === "unrecognized_keys") {
      return {
        loc,
        msg: issue.keys
          .map(
            (key) =>
              `Unknown field "${key.slice(0, 100)}"${issue.path.length === 0 ? meant(key.slice(0, 100), known) : ""}`,
          )
          .join("; "),
        type: "extra_forbidden",
      };
    }
    if (issue.code === "invalid_value") {
      return {
        loc,
        msg: `Input should be ${issue.values.map((each) => `'${String(each)}'`).join(" or ")}`,
        type: "literal_error",
      };
    }
    return { loc, msg: issue.message, type: "value_error" };
  });
}

/**
 * ` (did you mean "owner"?)` for a name that nobody knows and that is nearly one of `known`; else nothing.
 */
function meant(name: string, known: readonly string[]): string {
  const [nearest] = known
    .map((each) => ({ each, letters: distance(name, each) }))
    .sort((a, b) => a.letters - b.letters);
  return nearest && nearest.letters <= Math.min(TYPO_LETTERS, name.length - 1)
    ? ` (did you mean "${nearest.each}"?)`
    : "";
}

function valueAt(value: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (at, part) =>
      typeof at === "object" && at !== null ? (at as Record<PropertyKey, unknown>)[part] : undefined,
    value,
  );
}
