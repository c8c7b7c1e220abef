import { pino } from "pino";
import type { Log } from "../core/ports/log.ts";
import type { Config } from "./settings.ts";

const LEVELS: Record<number, string> = { 20: "debug", 30: "info", 40: "WARN", 50: "ERROR" };

/** One line for a person: time, severity, sentence, then the fields. */
function textLine(json: string): string {
  const { level, time, msg, err, name: _, pid: _pid, hostname: _host, ...fields } = JSON.parse(json);
  const rest = Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  const error = err ? ` ${err.code ? `[${err.code}] ` : ""}${err.message ?? err}${level >= 50 && err.stack ? `\n${err.stack}` : ""}` : "";
  return `${new Date(time).toISOString().slice(11, 23)} ${(LEVELS[level] ?? level).toString().padEnd(5)} ${msg}${rest.join("")}${error}\n`;
}

/** The program's log, on standard error. */
export function createLogger({ level, format }: Config["log"], name: string): Log {
  const destination = { write: (line: string) => process.stderr.write(format === "json" ? line : textLine(line)) };
  return pino({ level, name }, destination) as Log;
}
