/**
 * Bounds of JSON that are checked before it is parsed or written. The parser takes seconds for a few MB of
 * brackets, and blocks every other caller meanwhile; a scan of the text takes milliseconds.
 */

import type { Json } from "./json.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;

export interface JsonBounds {
  /** Levels of lists and objects. */
  depthMax: number;
  /** Values: list items, fields, lists and objects. */
  valuesMax: number;
  /** Fields of all objects: each costs several times as much as an item of a list. */
  fieldsMax: number;
}

/**
 * Names the bound that a text exceeds: it counts brackets, commas (values are about one more) and colons.
 * Returns `undefined` when it exceeds none, and for text that is not JSON, which the parser will refuse.
 */
export function jsonExcess(
  text: string,
  { depthMax, valuesMax, fieldsMax }: JsonBounds,
): "depth" | "values" | "fields" | undefined {
  let depth = 0;
  let fields = 0;
  let values = 1;
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    if (character === QUOTE) {
      at = endOfText(text, at);
      if (at < 0) return undefined;
    } else if (character === COMMA) {
      if (++values > valuesMax) return "values";
    } else if (character === COLON) {
      if (++fields > fieldsMax) return "fields";
    } else if ((character | 0x20) === 0x7b) {
      // "[" and "{" differ by this bit, and so do "]" and "}".
      if (++depth > depthMax) return "depth";
      if (++values > valuesMax) return "values";
    } else if ((character | 0x20) === 0x7d) depth--;
  }
  return undefined;
}

/** Characters after an escape that are read one by one: escapes often come in runs. */
const STEPS_AFTER_ESCAPE = 64;

/**
 * Finds the closing quote of the string that begins with the quote at `start`; -1: there is none. It jumps
 * from quote to quote, so that long strings such as data URIs cost little, and reads runs of escapes
 * character by character: a jump to each of millions of quotes would take several times as long.
 */
export function endOfText(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; ) {
    let slashes = 0;
    while (text.charCodeAt(end - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return end;
    let at = end + 1;
    for (let steps = 0; steps < STEPS_AFTER_ESCAPE; steps++, at++) {
      const character = text.charCodeAt(at);
      if (character === QUOTE) return at;
      if (character !== BACKSLASH) continue;
      // Skips what is escaped.
      at++;
      steps = 0;
    }
    end = text.indexOf('"', at);
  }
  return -1;
}

/** Counts a value and those within it, at most up to one more than `max`. */
export function countValues(value: Json, max: number): number {
  let count = 0;
  const open: Json[] = [value];
  while (open.length > 0 && count <= max) {
    const next = open.pop();
    count++;
    if (typeof next !== "object" || next === null) continue;
    for (const inner of Array.isArray(next) ? next : Object.values(next)) {
      open.push(inner);
      if (open.length + count > max) return max + 1;
    }
  }
  return count;
}

/**
 * Tells whether the JSON of a value is longer than `charactersMax`, with strings counted as if nothing had to
 * be escaped. The walk stops at that length: a value that contains another one many times is small in memory
 * and may be endless when written.
 */
export function isLongerThan(value: Json, charactersMax: number): boolean {
  let left = charactersMax;
  const walk = (part: Json): boolean => {
    left -= typeof part === "string" ? part.length + 2 : typeof part === "bigint" ? String(part).length : 1;
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
