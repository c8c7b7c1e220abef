import type { z } from "@hono/zod-openapi";
import { findNearestName } from "../../../core/errors/nearest-name.ts";
import type { InputFault } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";

type Issue = z.ZodError["issues"][number];

/**
 * Translates the issues of a schema into faults with the wording that models' faults have.
 *
 * @param known the fields of the schema, which are suggested for a misspelt one
 */
export function faultsOf(
  { issues }: z.ZodError,
  value: unknown,
  location: "path" | "query" | "body",
  known: readonly string[],
): InputFault[] {
  return issues.slice(0, LIMITS.inputFaultsMax).map((issue) => ({
    loc: [location, ...issue.path.map((part) => (typeof part === "number" ? part : String(part)))],
    ...messageOf(issue, value, known),
  }));
}

function messageOf(issue: Issue, value: unknown, known: readonly string[]): Omit<InputFault, "loc"> {
  switch (issue.code) {
    case "invalid_type":
      return valueAt(value, issue.path) === undefined
        ? { msg: "Field required", type: "missing" }
        : { msg: `Input should be a valid ${issue.expected}`, type: `${issue.expected}_type` };
    case "unrecognized_keys": {
      const suggestions = issue.path.length === 0 ? known : [];
      const messages = issue.keys.map((key) => unknownField(key.slice(0, 100), suggestions));
      return { msg: messages.join("; "), type: "extra_forbidden" };
    }
    case "invalid_value":
      return {
        msg: `Input should be ${issue.values.map((each) => `'${String(each)}'`).join(" or ")}`,
        type: "literal_error",
      };
    default:
      return { msg: issue.message, type: "value_error" };
  }
}

/** `Unknown field "ownr" (did you mean "owner"?)`, with a suggestion only if a known name is similar. */
function unknownField(name: string, known: readonly string[]): string {
  const nearest = findNearestName(name, known);
  return `Unknown field "${name}"${nearest === undefined ? "" : ` (did you mean "${nearest}"?)`}`;
}

function valueAt(value: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (node, part) =>
      typeof node === "object" && node !== null ? (node as Record<PropertyKey, unknown>)[part] : undefined,
    value,
  );
}
