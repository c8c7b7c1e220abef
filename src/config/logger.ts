import { hostname } from "node:os";
import { pino, stdTimeFunctions } from "pino";
import { escapeControl } from "../core/json/escape-control.ts";
import { steadyClock } from "../core/operations/clock.ts";
import type { Log } from "../core/operations/log.ts";
import { logFields, logText } from "./log-fields.ts";
import { RepeatedWarnings } from "./repeated-warnings.ts";
import type { Config } from "./settings.ts";

/** The program's log; its level can be changed while it runs. */
export interface Logger extends Log {
  level: string;
  /** Writes what is held of repeated warnings, before the process ends. */
  flush(): void;
}

export type LogFormat = "text" | "json";

type Level = "debug" | "info" | "warn" | "error";

/** Severities as a person reads them: what needs attention stands out. */
const SEVERITIES: Record<string, string> = { debug: "debug", info: "info ", warn: "WARN ", error: "ERROR" };

/** Returns the configured format or, without one, text for a person at a terminal and JSON for a program. */
export function logFormat(configured: LogFormat | undefined): LogFormat {
  return configured ?? (process.stderr.isTTY ? "text" : "json");
}

/** Formats one line for a person: time, severity, sentence, then the fields. */
function textLine(json: string): string {
  const { level, time, message, err, role: _, pid: _pid, hostname: _host, ...fields } = JSON.parse(json);
  const rest = Object.entries(fields).map(([name, value]) => ` ${name}=${textValue(value)}`);
  const code = err?.code ? `[${err.code}] ` : "";
  const error = err ? ` ${code}${err.message ?? err}` : "";
  // Each line of a stack is indented, so that none can pass for a line of the log.
  const stack =
    level === "error" && err?.stack
      ? err.stack.split("\n").map((line: string) => `\n    ${escapeControl(line.trim())}`)
      : [];
  const line = `${time.slice(11, 23)} ${SEVERITIES[level]} ${message}${rest.join("")}${error}`;
  return `${escapeControl(line)}${stack.join("")}\n`;
}

/** Quotes a value that could be read as more than one. */
function textValue(value: unknown): string {
  return typeof value === "string" && !/[\s"=]/.test(value) ? value : JSON.stringify(value);
}

/**
 * Creates the program's log, on standard error. `docs/production.md` describes its lines.
 *
 * A warning that comes again is written once a minute, with the number of times, unless `debug` is logged.
 * Nothing in a line can end it, and no line has a field twice.
 *
 * @param role the name of the process in each line
 * @param mask masks secrets in every text, also inside sentences: the error of a driver may quote the address
 *   that it could not reach (`createMask`)
 */
export function createLogger(
  config: Config["log"],
  role: string,
  {
    mask = (text) => text,
    write = (line) => process.stderr.write(line),
  }: { mask?: (text: string) => string; write?: (line: string) => void } = {},
): Logger {
  const isText = logFormat(config.format) === "text";
  const destination = {
    write: (line: string) => write(isText ? textLine(line) : `${escapeControl(line.trimEnd())}\n`),
  };
  const lines = pino(
    {
      level: config.level,
      base: { role, pid: process.pid, hostname: hostname() },
      messageKey: "message",
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (level) => ({ level }) },
      serializers: { err: (error) => error }, // `logFields` has made it plain
    },
    destination,
  );
  const writer =
    (level: Level) =>
    (fields: object, message: string): void => {
      if (lines.isLevelEnabled(level)) lines[level](logFields(fields, mask), logText(message, mask));
    };
  const warn = writer("warn");
  const repeated = new RepeatedWarnings({ write: warn, clock: steadyClock });
  return {
    debug: writer("debug"),
    info: writer("info"),
    error: writer("error"),
    warn(fields, message) {
      if (lines.isLevelEnabled("debug")) warn(fields, message);
      else if (lines.isLevelEnabled("warn")) repeated.warn(fields, message);
    },
    flush: () => repeated.flush(),
    get level() {
      return lines.level;
    },
    set level(level) {
      lines.level = level;
    },
  };
}
