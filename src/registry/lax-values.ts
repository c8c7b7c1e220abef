/** Scalars as pydantic reads them in its lax mode, value by value (`lax-conversions.fixture.json`). */
import type { InputFault } from "../core/errors/tempera-error.ts";
import { readInteger } from "../core/json/exact-json.ts";
import type { Json } from "../core/json/json.ts";

/** Coerces scalars of another type, or refuses them. */
export type Coercion = "lax" | "strict";

/** Reads a scalar as another type. `undefined` when it cannot be read as that without another meaning. */
export function readLax(value: Json, type: string): Json | undefined {
  return Object.hasOwn(READ, type) ? READ[type as keyof typeof READ](value) : undefined;
}

/** Words the fault of a scalar that cannot be read as a type; `undefined` when it is of the wrong kind. */
export function unreadFault(value: unknown, type: string): Pick<InputFault, "msg" | "type"> | undefined {
  const isInteger = typeof value === "bigint" || Number.isSafeInteger(value);
  if (type === "boolean" && (typeof value === "string" || isInteger))
    return { msg: "Input should be a valid boolean, unable to interpret input", type: "bool_parsing" };
  if (typeof value !== "string") return undefined;
  const text = value.length > EXPLAINED_MAX ? "" : value.trim();
  if (type === "integer" && INTEGER.test(text)) return TOO_LONG;
  if (type === "integer")
    return {
      msg: "Input should be a valid integer, unable to parse string as an integer",
      type: "int_parsing",
    };
  if (type !== "number") return undefined;
  return NOT_FINITE.test(text) || NUMBER.test(text)
    ? { msg: "Input should be a finite number", type: "finite_number" }
    : { msg: "Input should be a valid number, unable to parse string as a number", type: "float_parsing" };
}

const TOO_LONG = {
  msg: "Unable to parse input string as an integer, exceeded maximum size",
  type: "int_parsing_size",
};

const READ = {
  integer: (value: Json) => {
    if (typeof value === "boolean") return Number(value);
    if (typeof value !== "string" || !isIntegerText(value)) return undefined;
    const read = readInteger(value.trim().replaceAll("_", "").replace(/\.0+$/, ""));
    return typeof read === "number" ? read + 0 : read;
  },
  number: (value: Json) => {
    if (typeof value === "boolean") return Number(value);
    if (typeof value !== "string" || !isNumberText(value)) return undefined;
    const read = Number(value.replaceAll("_", ""));
    return Number.isFinite(read) ? read : undefined;
  },
  boolean: (value: Json) => {
    if (value === 0 || value === 1) return value === 1;
    if (typeof value !== "string" || value.length > 5) return undefined;
    const text = value.toLowerCase();
    return TRUE.has(text) ? true : FALSE.has(text) ? false : undefined;
  },
};

const TRUE = new Set(["1", "on", "t", "true", "y", "yes"]);
const FALSE = new Set(["0", "off", "f", "false", "n", "no"]);

/** Texts longer than this are no numbers; Python's own bound for integers. */
const DIGITS_MAX = 4300;
/** Longer texts are not matched to name their fault: the stack of the engine for patterns is bounded. */
const EXPLAINED_MAX = 10_000;
const INTEGER = /^[+-]?\d+(_\d+)*(\.0+)?$/;
const NUMBER = /^[+-]?(\d+(_\d+)*_?\.?|(\d+(_\d+)*_?)?\.\d+(_\d+)*)(e[+-]?\d+(_\d+)*)?$/i;
const NOT_FINITE = /^[+-]?(inf|infinity|nan)$/i;

const isIntegerText = (text: string): boolean => text.length <= DIGITS_MAX && INTEGER.test(text.trim());
const isNumberText = (text: string): boolean => text.length <= DIGITS_MAX && NUMBER.test(text.trim());
