/**
 * What JSON may be before it is parsed, or written. The parser takes seconds for a few MB of brackets and
 * makes a value of each, while everybody else waits; looking at the text costs milliseconds.
 */

import type { Json } from "./json.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;

/**
 * Which bound a text goes over: nested deeper than `depthMax` lists and objects, or more than about
 * `valuesMax` values (commas and opening brackets are counted). `undefined`: neither. Text that is no JSON is
 * left for the parser to refuse.
 */
export function jsonExcess(
  text: string,
  { depthMax, valuesMax }: { depthMax: number; valuesMax: number },
): "depth" | "values" | undefined {
  let depth = 0;
  let values = 1;
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    if (character === QUOTE) {
      at = endOfText(text, at);
      if (at < 0) return undefined;
    } else if (character === COMMA) {
      if (++values > valuesMax) return "values";
    } else if ((character | 0x20) === 0x7b) {
      // "[" and "{" differ by this bit, and so do "]" and "}".
      if (++depth > depthMax) return "depth";
      if (++values > valuesMax) return "values";
    } else if ((character | 0x20) === 0x7d) depth--;
  }
  return undefined;
}

/**
 * Where the text that begins with the quote at `start` ends; -1: nowhere. Long texts, such as data URIs, are
 * not walked over.
 */
function endOfText(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end;
  }
  return -1;
}

/**
 * Whether the JSON of a value is longer than `charactersMax`; text is counted as if nothing in it had to be
 * escaped. A value that holds another one many times is small in memory and may be without end when it is
 * written: it is looked at no further than that.
 */
export function isLongerThan(value: Json, charactersMax: number): boolean {
  let left = charactersMax;
  const walk = (part: Json): boolean => {
    left -= typeof part === "string" ? part.length + 2 : 1;
    if (left < 0) return true;
    if (typeof part !== "object" || part === null) return false;
    if (Array.isArray(part)) return part.some(walk);
    for (const name of Object.keys(part)) {
      left -= name.length + 3;
      if (left < 0 || walk(part[name] as Json)) return true;
    }
    return false;
  };
  return walk(value);
}
