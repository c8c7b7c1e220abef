import { closest, distance } from "fastest-levenshtein";

/**
 * Words the end of a refusal of an unknown name: the nearest right name if one is similar, else all names.
 *
 * @example nearestName("prot", ["host", "port"]) // → '; did you mean "port"?'
 */
export function nearestName(name: string, names: readonly string[]): string {
  const nearest = closest(
    name.toLowerCase(),
    names.map((each) => each.toLowerCase()),
  );
  const meant = names.find((each) => each.toLowerCase() === nearest);
  const near =
    meant !== undefined && distance(name.toLowerCase(), nearest) <= Math.max(2, Math.ceil(meant.length / 3));
  return near ? `; did you mean "${meant}"?` : ` (${names.join(", ")})`;
}
