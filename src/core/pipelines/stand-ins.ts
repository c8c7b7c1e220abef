/**
 * Stand-ins: a pipeline passes long texts on, such as data URIs, but seldom reads them. In a value that is
 * too large for a workflow, each long text is replaced by a stand-in, which names the stored value that has
 * it. What the pipeline makes of the value gets the texts back when it is stored. Workflow code imports this:
 * pure functions only.
 */
import type { Json } from "../json/json.ts";

/** A text of at least this many characters gets a stand-in. */
const CHARACTERS_MIN = 4096;

const PREFIX = "tempera:text:";

/** Replaces the long texts of the value that is stored as `ref` by stand-ins. */
export function withStandIns(value: Json, ref: string): Json {
  let count = 0;
  return mapTexts(value, (text) => (isLong(text) ? `${PREFIX}${ref}#${count++};` : text));
}

/** Lists the long texts of a value, in the order in which `withStandIns` replaces them. */
export function longTexts(value: Json): string[] {
  const found: string[] = [];
  mapTexts(value, (text) => {
    if (isLong(text)) found.push(text);
    return text;
  });
  return found;
}

/** Counts the stand-ins in a value. */
export function countStandIns(value: Json): number {
  let count = 0;
  mapTexts(value, (text) => {
    if (text.includes(PREFIX)) count += [...text.matchAll(pattern())].length;
    return text;
  });
  return count;
}

/** Lists the stored values that a value has stand-ins of, among those that the pipeline has read. */
export function standInsOf(value: Json, read: ReadonlySet<string>): string[] {
  const found = new Set<string>();
  mapTexts(value, (text) => {
    if (text.includes(PREFIX)) for (const [, ref = ""] of text.matchAll(pattern())) found.add(ref);
    return text;
  });
  return [...found].filter((ref) => read.has(ref));
}

/**
 * Puts long texts back in place of their stand-ins, also within a text. Unknown stand-ins stay. `undefined`
 * when the texts that are put back have more than `charactersMax` characters together.
 */
export function withTexts(
  value: Json,
  texts: ReadonlyMap<string, readonly string[]>,
  charactersMax: number,
): Json | undefined {
  let characters = 0;
  const put = (found: string, ref: string, index: string): string => {
    const text = texts.get(ref)?.[Number(index)] ?? found;
    characters += text.length;
    return characters > charactersMax ? "" : text;
  };
  const whole = mapTexts(value, (text) => (text.includes(PREFIX) ? text.replaceAll(pattern(), put) : text));
  return characters > charactersMax ? undefined : whole;
}

const isLong = (text: string): boolean => text.length >= CHARACTERS_MIN;

/** Matches a stand-in. A new one each time: a pattern with `g` keeps state. */
const pattern = (): RegExp => /tempera:text:([\w./-]+)#(\d+);/g;

function mapTexts(value: Json, map: (text: string) => string): Json {
  if (typeof value === "string") return map(value);
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, map));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, mapTexts(item, map)]));
}
