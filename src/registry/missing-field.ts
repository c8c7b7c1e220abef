import { findNearestName } from "../core/errors/nearest-name.ts";
import type { InputFault } from "../core/errors/tempera-error.ts";

/** Given names that are compared: each comparison takes time, and real inputs have fewer. */
const NAMES_MAX = 1_000;

/**
 * Describes a missing field. Names the given field that is probably meant for it, if there is one.
 *
 * @param unknown the given fields that the schema does not have
 */
export function missingField(loc: InputFault["loc"], name: string, unknown: readonly string[]): InputFault {
  const near = findNearestName(name, unknown.slice(0, NAMES_MAX));
  const hint = near === undefined ? "" : ` (did you misspell it as "${near}"?)`;
  return { loc: [...loc, name], msg: `Field required${hint}`, type: "missing" };
}

/** Lists the fields of a value that the properties of its schema do not have. */
export function unknownFields(value: unknown, properties: unknown): string[] {
  const known = properties ?? {};
  return typeof value === "object" && value !== null
    ? Object.keys(value).filter((name) => !Object.hasOwn(known, name))
    : [];
}
