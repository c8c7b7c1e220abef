import { distance } from "fastest-levenshtein";

/** Longer names are not compared: they are no misspelt ones, and each comparison takes time. */
const CHARACTERS_MAX = 200;

/**
 * Finds the name that was probably meant by a misspelt one, for the message of a refusal; `undefined` when
 * none is similar. Upper and lower case count as the same letter.
 *
 * @example findNearestName("promt", ["seed", "prompt"]) // → "prompt"
 */
export function findNearestName(name: string, names: Iterable<string>): string | undefined {
  if (name.length > CHARACTERS_MAX) return undefined;
  const given = name.toLowerCase();
  let nearest: string | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const each of names) {
    const letters = distance(given, each.toLowerCase());
    if (letters < fewest && letters <= differenceMax(each)) [nearest, fewest] = [each, letters];
  }
  return nearest;
}

/** Letters in which a misspelt name may differ: a third of them, at least two, and never all. */
const differenceMax = ({ length }: string): number =>
  Math.min(Math.max(2, Math.ceil(length / 3)), length - 1);
