/**
 * Reads and writes JSON without loss. An integer that a double cannot hold is a `bigint` in memory; every
 * other number is the nearest double, as in all programs that compute with doubles. What cannot be held at
 * all is refused: a number beyond the range of doubles, and an integer of more digits than
 * `LIMITS.integerDigitsMax`.
 *
 * Values without such numbers, nearly all of them, are read and written by JavaScript's own functions.
 */
import { LIMITS } from "../limits.ts";
import type { Json, JsonObject } from "./json.ts";
import { endOfText } from "./json-bounds.ts";

/** Thrown for a number that cannot be held. The message is for the caller. */
export class JsonNumberFault extends SyntaxError {
  /** The fields and list indices that lead to the number. */
  readonly path: (string | number)[];
  /** The reason, in the words of pydantic where it has some. */
  readonly reason: { msg: string; type: "finite_number" | "int_parsing_size" };

  constructor(path: (string | number)[], reason: JsonNumberFault["reason"]) {
    super(`${reason.msg} (at ${path.length > 0 ? path.join(".") : "the top level"})`);
    this.path = path;
    this.reason = reason;
  }
}

/**
 * Reads a JSON text; duplicate fields and `__proto__` are read as by `JSON.parse`. Throws a `SyntaxError`
 * for text that is not JSON, and a `JsonNumberFault` for a number that cannot be held. The type is the
 * caller's word, as with a cast.
 */
export function parseJson<T = Json>(text: string): T {
  const value = JSON.parse(text);
  return hasLargeNumber(value) ? (new ExactReader(text).read() as T) : value;
}

/**
 * Writes a value as JSON; `bigint`s as integers, everything else as `JSON.stringify` does.
 *
 * @param space as for `JSON.stringify`
 */
export function writeJson(value: unknown, space = 0): string {
  try {
    return JSON.stringify(value, undefined, space);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    try {
      if (hasLargeNumber(value)) return writeExactly(value, " ".repeat(space), "\n") as string;
    } catch (fault) {
      // JavaScript names the circle of a value that contains itself.
      if (fault instanceof RangeError)
        JSON.stringify(value, (_, item) => (typeof item === "bigint" ? 0 : item));
      throw fault;
    }
    throw error;
  }
}

/** Tells whether a double holds an integer only roughly, or cannot hold it at all. */
export function isLargeNumber(value: unknown): boolean {
  if (typeof value === "number") return !(Math.abs(value) <= Number.MAX_SAFE_INTEGER);
  return typeof value === "bigint";
}

/** Tells whether there is a large number anywhere in a value. */
export function hasLargeNumber(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return isLargeNumber(value);
  if (Array.isArray(value)) {
    for (const item of value) if (hasLargeNumber(item)) return true;
    return false;
  }
  if (ArrayBuffer.isView(value)) return false;
  for (const name in value) if (hasLargeNumber((value as Record<string, unknown>)[name])) return true;
  return false;
}

/**
 * Reads an integer as a number if a double holds it, else as a `bigint`; `undefined` for one that is too
 * long: a conversion takes time that grows with the square of the length.
 *
 * @param text an optional sign and digits
 */
export function readInteger(text: string): number | bigint | undefined {
  const digitsMax = LIMITS.integerDigitsMax;
  if (text.length > digitsMax && text.replace(/^[+-]/, "").length > digitsMax) return undefined;
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

const INTEGER = /^-?\d+$/;

/** Tells whether a character is a blank of JSON: a space, tab, line feed or carriage return. */
const isBlank = (code: number): boolean => code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;

/** Tells whether a number or word ends before a character: a blank, "," "]" "}", or the end of the text. */
const endsToken = (code: number): boolean =>
  isBlank(code) || code === 0x2c || code === 0x5d || code === 0x7d || Number.isNaN(code);

/** Reads a text that `JSON.parse` has accepted, number by number. */
class ExactReader {
  readonly #text: string;
  readonly #path: (string | number)[] = [];
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Json {
    const first = this.#next();
    if (first === "{") return this.#object();
    if (first === "[") return this.#list();
    return first === '"' ? this.#string() : this.#scalar();
  }

  /** Skips blanks and gives the character after them. */
  #next(): string | undefined {
    while (isBlank(this.#text.charCodeAt(this.#at))) this.#at++;
    return this.#text[this.#at];
  }

  /** Passes the character at hand and the blanks after it. */
  #step(): string | undefined {
    this.#at++;
    return this.#next();
  }

  /** Passes the number or word at hand. */
  #token(): string {
    const start = this.#at;
    while (!endsToken(this.#text.charCodeAt(this.#at))) this.#at++;
    return this.#text.slice(start, this.#at);
  }

  #object(): Json {
    const fields: JsonObject = {};
    for (let next = this.#step(); next !== "}"; next = this.#next()) {
      if (next === ",") this.#step();
      const name = this.#string();
      this.#next();
      this.#at++; // the colon
      const value = this.#within(name);
      if (name !== "__proto__") fields[name] = value;
      else
        Object.defineProperty(fields, name, { value, writable: true, enumerable: true, configurable: true });
    }
    this.#at++;
    return fields;
  }

  #list(): Json {
    const items: Json[] = [];
    for (let next = this.#step(); next !== "]"; next = this.#next()) {
      if (next === ",") this.#step();
      items.push(this.#within(items.length));
    }
    this.#at++;
    return items;
  }

  #within(step: string | number): Json {
    this.#path.push(step);
    const value = this.read();
    this.#path.pop();
    return value;
  }

  #string(): string {
    const start = this.#at;
    this.#at = endOfText(this.#text, start) + 1;
    const quoted = this.#text.slice(start, this.#at);
    return quoted.includes("\\") ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
  }

  #scalar(): Json {
    const token = this.#token();
    if (!INTEGER.test(token)) {
      const value = JSON.parse(token) as Json;
      if (typeof value === "number" && !Number.isFinite(value))
        throw new JsonNumberFault([...this.#path], {
          msg: "Input should be a finite number",
          type: "finite_number",
        });
      return value;
    }
    const value = readInteger(token);
    if (value !== undefined) return value;
    throw new JsonNumberFault([...this.#path], {
      msg: `Unable to parse input as an integer, it has more than ${LIMITS.integerDigitsMax} digits`,
      type: "int_parsing_size",
    });
  }
}

/** Writes a value that contains `bigint`s; `undefined` for what JSON does not have. */
function writeExactly(value: unknown, gap: string, line: string): string | undefined {
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if ("toJSON" in value && typeof value.toJSON === "function") return writeExactly(value.toJSON(), gap, line);
  const inner = line + gap;
  const parts: string[] = [];
  if (Array.isArray(value)) {
    for (const item of value) parts.push(writeExactly(item, gap, inner) ?? "null");
    return joined("[", parts, "]");
  }
  for (const [name, item] of Object.entries(value)) {
    const written = writeExactly(item, gap, inner);
    if (written !== undefined) parts.push(`${JSON.stringify(name)}:${gap && " "}${written}`);
  }
  return joined("{", parts, "}");

  function joined(open: string, items: string[], close: string): string {
    if (items.length === 0 || gap === "") return open + items.join(",") + close;
    return `${open}${inner}${items.join(`,${inner}`)}${line}${close}`;
  }
}
