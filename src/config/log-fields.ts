import { isSecretField, MASK } from "../core/operations/mask.ts";

/** Longest text in a line; the rest is cut. Container runtimes split lines of 16 KiB. */
const CHARACTERS_MAX = 8_000;
/** Characters after the cut that are masked too: a secret that stands at the cut is recognised by its end. */
const SECRET_CHARACTERS_MAX = 1_000;
/** Most entries of a list or an object, and the deepest level, that a line shows. */
const ENTRIES_MAX = 50;
const DEPTH_MAX = 4;

/** Fields of every line. A field of the same name would be there twice, so it gets a `_` after its name. */
const RESERVED = new Set(["time", "level", "role", "pid", "hostname", "message"]);

/**
 * The fields of an error that a line shows. Drivers put more into theirs: commands, parameters, whole
 * responses.
 */
const ERROR_FIELDS = ["code", "status", "syscall", "address", "port"];

/** Prepares the fields of a line: secrets masked, errors as plain objects, everything bounded. */
export function logFields(fields: object, mask: (text: string) => string): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      RESERVED.has(name) ? `${name}_` : name,
      isSecretField(name) && value !== undefined ? MASK : plain(value, mask, DEPTH_MAX),
    ]),
  );
}

/** Masks a text, then cuts it to the longest that a line has. No more is masked than the cut needs. */
export function logText(text: string, mask: (text: string) => string): string {
  const read = text.slice(0, CHARACTERS_MAX + SECRET_CHARACTERS_MAX);
  const masked = mask(read);
  const unread = text.length - read.length;
  // The last part of what was read may hold the beginning of a secret that ends after it.
  const whole = unread > 0 ? Math.max(0, masked.length - SECRET_CHARACTERS_MAX) : masked.length;
  const kept = Math.min(whole, CHARACTERS_MAX);
  const more = masked.length - kept + unread;
  return more === 0 ? masked : `${masked.slice(0, kept)}… (${more} more characters)`;
}

function plain(value: unknown, mask: (text: string) => string, depth: number): unknown {
  if (typeof value === "string") return logText(value, mask);
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return Number.isNaN(value.valueOf()) ? null : value.toISOString();
  if (isErrorLike(value)) return errorFields(value, mask);
  if (depth === 0) return Array.isArray(value) ? `[${value.length} entries]` : "[object]";
  if (Array.isArray(value)) return value.slice(0, ENTRIES_MAX).map((each) => plain(each, mask, depth - 1));
  return Object.fromEntries(
    Object.entries(value)
      .slice(0, ENTRIES_MAX)
      .map(([name, each]) => [
        logText(name, mask),
        isSecretField(name) ? MASK : plain(each, mask, depth - 1),
      ]),
  );
}

interface ErrorLike {
  name?: unknown;
  message: string;
  stack?: unknown;
  cause?: unknown;
  errors?: unknown;
}

function isErrorLike(value: object): value is ErrorLike {
  return typeof (value as { message?: unknown }).message === "string";
}

function errorFields(error: ErrorLike, mask: (text: string) => string): Record<string, unknown> {
  const values = error as unknown as Record<string, unknown>;
  const known = ERROR_FIELDS.flatMap((name) => {
    const value = values[name];
    return typeof value === "string" || typeof value === "number" ? [[name, value] as const] : [];
  });
  return {
    ...(error instanceof Error && { type: error.name }),
    message: logText(messageOf(error), mask),
    ...Object.fromEntries(known),
    ...(typeof error.stack === "string" && { stack: logText(stackOf(error), mask) }),
  };
}

/** Joins the messages of an error and its causes. Node's error of several addresses has them in `errors`. */
function messageOf(error: ErrorLike): string {
  const own = ({ message, errors }: ErrorLike): string =>
    message === "" && Array.isArray(errors) ? errors.map((each) => each?.message).join("; ") : message;
  return [error, ...causesOf(error)].map(own).join(": ");
}

function stackOf(error: ErrorLike): string {
  return [error, ...causesOf(error)].map(({ stack, message }) => stack ?? message).join("\ncaused by: ");
}

/** Lists the causes of an error, up to a depth, since one can be its own cause. */
function causesOf(error: ErrorLike): ErrorLike[] {
  const causes: ErrorLike[] = [];
  for (let { cause } = error; causes.length < DEPTH_MAX; { cause } = causes.at(-1) as ErrorLike) {
    if (typeof cause !== "object" || cause === null || !isErrorLike(cause)) break;
    causes.push(cause);
  }
  return causes;
}
