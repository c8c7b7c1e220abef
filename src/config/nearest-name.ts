import { findNearestName } from "../core/errors/nearest-name.ts";

/**
 * Words the end of a refusal of an unknown name: the nearest right name if one is similar, else all names.
 *
 * @example nearestName("prot", ["host", "port"]) // → '; did you mean "port"?'
 */
export function nearestName(name: string, names: readonly string[]): string {
  const nearest = findNearestName(name, names);
  return nearest === undefined ? ` (${names.join(", ")})` : `; did you mean "${nearest}"?`;
}
