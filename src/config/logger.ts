import { pino } from "pino";
import type { Log } from "../core/operations/log.ts";
import { MASK } from "./masked.ts";
import type { Config } from "./settings.ts";

/** The program's log; its level can be changed while it runs. */
export interface Logger extends Log {
  level: string;
}

const LEVELS: Record<number, string> = { 20: "debug", 30: "info", 40: "WARN", 50: "ERROR" };

/** Fields whose names say that they hold secrets; masked on every line, at most one level down. */
const SECRET_FIELDS = ["authorization", "cookie", "password", "secret", "token", "key_secret", "keySecret"];

/** Formats one line for a person: time, severity, sentence, then the fields. */
function textLine(json: string): string {
  const { level, time, msg, err, name: _, pid: _pid, hostname: _host, ...fields } = JSON.parse(json);
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const code = err?.code ? `[${err.code}] ` : "";
  const stack = level >= 50 && err?.stack ? `\n${err.stack}` : "";
  const error = err ? ` ${code}${err.message ?? err}${stack}` : "";
  const clock = new Date(time).toISOString().slice(11, 23);
  const severity = (LEVELS[level] ?? level).toString().padEnd(5);
  return `${clock} ${severity} ${msg}${rest.join("")}${error}\n`;
}

/**
 * Creates the program's log, on standard error.
 *
 * @param mask masks secrets in every line, also inside sentences: the error of a driver may quote the address
 *   that it could not reach (`createMask`)
 */
export function createLogger(
  config: Config["log"],
  name: string,
  {
    mask = (text) => text,
    write = (line) => process.stderr.write(line),
  }: { mask?: (text: string) => string; write?: (line: string) => void } = {},
): Logger {
  const { level, format } = config;
  // Masking comes last: a password of digits may occur in a time or a process id, and masking those before
  // the line is parsed would make it invalid JSON.
  const destination = { write: (line: string) => write(mask(format === "json" ? line : textLine(line))) };
  const redact = { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: MASK };
  return pino({ level, name, redact }, destination) as Logger;
}
