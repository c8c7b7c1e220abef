import { format } from "node:util";
import { createLogger, type LogFormat, type Logger, logFormat } from "../config/logger.ts";
import { escapeControl } from "../core/json/escape-control.ts";
import type { Log } from "../core/operations/log.ts";

/** Severity of what a library prints: an error that it handles asks for a look, and is no failure of ours. */
const CONSOLE: Record<"debug" | "log" | "info" | "warn" | "error" | "trace", keyof Log> = {
  debug: "debug",
  trace: "debug",
  log: "info",
  info: "info",
  warn: "warn",
  error: "warn",
};

/**
 * Sends to the log what the process itself would print: the console of libraries, Node's warnings, and
 * errors that nobody caught, which end the process with 1.
 */
export function captureOutput(log: Logger): void {
  for (const [method, level] of Object.entries(CONSOLE) as [keyof typeof CONSOLE, keyof Log][])
    console[method] = (...given: unknown[]) => log[level]({}, format(...given));
  process.removeAllListeners("warning"); // Node's own listener prints
  process.on("warning", ({ name, message, ...rest }) =>
    log.warn({ ...("code" in rest && { code: rest.code }) }, `${name}: ${message}`),
  );
  const end = (error: unknown, origin: string): void => {
    log.error({ err: error, origin }, "an error that nobody caught ends the process");
    process.exit(1);
  };
  process.on("uncaughtException", end);
  process.on("unhandledRejection", (error) => end(error, "unhandledRejection"));
  process.on("exit", () => log.flush());
}

/** A start that failed, as far as it is known. */
export interface FailedStart {
  role?: string;
  format?: LogFormat | undefined;
  mask?: (text: string) => string;
}

/**
 * Words why a process does not start, without stack trace or secrets: as a line of JSON or, for a person, as
 * `tempera: <reason>`, whose further lines are indented. It is told at every log level.
 */
export function refusalText(error: unknown, { role = "tempera", format, mask }: FailedStart = {}): string {
  const reason = error instanceof Error ? error.message : String(error);
  if (logFormat(format ?? (error as { logFormat?: LogFormat }).logFormat ?? givenFormat()) === "text") {
    const [first, ...more] = (mask?.(reason) ?? reason).split("\n").map(escapeControl);
    return [`tempera: ${first}`, ...more.map((line) => `  ${line.trimStart()}`), ""].join("\n");
  }
  const lines: string[] = [];
  const write = (line: string): void => void lines.push(line);
  createLogger({ level: "error", format: "json" }, role, { ...(mask && { mask }), write }).error({}, reason);
  return lines.join("");
}

/** Reads the format before the configuration has been read. */
function givenFormat(): LogFormat | undefined {
  const { TEMPERA_LOG_FORMAT: format } = process.env;
  return format === "json" || format === "text" ? format : undefined;
}
