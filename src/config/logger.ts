import { pino } from "pino";
import type { Log } from "../core/operations/log.ts";
import { MASK } from "./masked.ts";
import type { Config } from "./settings.ts";

/** The program's log; its level can be changed while it runs. */
export interface Logger extends Log {
  level: string;
}

const LEVELS: Record<number, string> = { 20: "debug", 30: "info", 40: "WARN", 50: "ERROR" };

/** Fields that hold secrets by their name, on any line, one level down at most. */
const SECRET_FIELDS = ["authorization", "cookie", "password", "secret", "token", "key_secret", "keySecret"];

/** One line for a person: time, severity, sentence, then the fields. */
function textLine(json: string): string {
  const { level, time, msg, err, name: _, pid: _pid, hostname: _host, ...fields } = JSON.parse(json);
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const error = err
    ? ` ${err.code ? `[${err.code}] ` : ""}${err.message ?? err}${level >= 50 && err.stack ? `\n${err.stack}` : ""}`
    : "";
  return `${new Date(time).toISOString().slice(11, 23)} ${(LEVELS[level] ?? level).toString().padEnd(5)} ${msg}${rest.join("")}${error}\n`;
}

/**
 * The program's log, on standard error.
 *
 * @param mask takes secrets out of every line, whatever sentence they stand in: a driver's error may quote the address it
 *   could not reach (`createMask`)
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
  // Masked when all else is done: a password of digits may stand in a time or a process id, and a line
  // without those is no JSON.
  const destination = { write: (line: string) => write(mask(format === "json" ? line : textLine(line))) };
  const redact = { paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`]), censor: MASK };
  return pino({ level, name, redact }, destination) as Logger;
}
