/** The operating system's side of an engine: its process, its environment, its output, its end. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { parseJson } from "../../../core/json/exact-json.ts";
import type { LogLevel } from "../../../core/requests/events.ts";
import type { EngineProgram } from "./engine-programs.ts";

export interface SpawnedEngine {
  child: ChildProcessWithoutNullStreams;
  /**
   * Resolves when the process is gone, with how it ended: "was ended by SIGKILL", "exited with code 1: <last
   * line of stderr>", "cannot be started: …".
   */
  exited: Promise<string>;
}

export interface SpawnOptions {
  program: EngineProgram;
  socket: string;
  device: string;
  /** Called with each line of stdout and stderr. */
  onLine: (level: LogLevel, message: string, pid: number | undefined) => void;
}

/**
 * The only variables of the GPU worker's environment that every engine sees: no keys and no addresses of
 * stores, since engines run other people's code.
 */
const BASIC_ENVIRONMENT = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"];

export async function spawnEngine({ program, socket, device, onLine }: SpawnOptions): Promise<SpawnedEngine> {
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  await rm(socket, { force: true });
  const [command, ...args] = program.command;
  // A process group of its own: Ctrl-C in a terminal reaches the GPU worker alone, which lets running
  // requests end first.
  const child = spawn(command, [...args, socket], {
    env: environmentOf(program, device),
    stdio: "pipe",
    detached: true,
  });
  child.stdin.on("error", () => {}); // stdin breaks when the engine dies.

  const lastErrorLine = relayOutput(child, (level, message) => onLine(level, message, child.pid));
  const exited = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(`cannot be started: ${error.message}`));
    // "close" comes after the last output has been read, so the last line of stderr is known.
    child.on("close", (code, endedBy) => {
      const line = lastErrorLine();
      resolve(
        `${endedBy ? `was ended by ${endedBy}` : `exited with code ${code}`}${line ? `: ${line}` : ""}`,
      );
    });
  });
  return { child, exited };
}

function environmentOf(program: EngineProgram, device: string): NodeJS.ProcessEnv {
  const names = [...BASIC_ENVIRONMENT, ...(program.environment ?? [])];
  const passedOn = names.flatMap((name) =>
    process.env[name] === undefined ? [] : [[name, process.env[name]] as const],
  );
  return { ...Object.fromEntries(passedOn), TEMPERA_DEVICE: device };
}

/** Relays stdout and stderr line by line. Returns a function that gives the last line of stderr. */
function relayOutput(
  child: ChildProcessWithoutNullStreams,
  onLine: (level: LogLevel, message: string) => void,
): () => string {
  let lastErrorLine = "";
  for (const stream of [child.stdout, child.stderr])
    createInterface({ input: stream }).on("line", (line) => {
      if (line.trim() === "") return;
      const { level, message } = parseLine(line);
      if (stream === child.stderr) lastErrorLine = message;
      onLine(level, message);
    });
  return () => lastErrorLine;
}

/**
 * Parses a JSON line with a level, a number as pino's or a word: `{"level":40,"msg":"…"}`. A line of text has
 * none, and neither stream says one: libraries write to stderr what is no error. An end of the process is
 * logged as an error by itself.
 */
function parseLine(line: string): { level: LogLevel; message: string } {
  const text = { level: "INFO", message: line } as const;
  if (!line.startsWith("{")) return text;
  try {
    const { level, msg, message = msg } = parseJson(line) as Record<string, unknown>;
    return typeof message === "string" ? { level: levelOf(level), message } : text;
  } catch {
    return text;
  }
}

function levelOf(level: unknown): LogLevel {
  if (typeof level === "number")
    return level >= 50 ? "ERROR" : level >= 40 ? "WARN" : level >= 30 ? "INFO" : "DEBUG";
  const word = String(level).toUpperCase();
  if (/^(ERROR|FATAL|CRITICAL)$/.test(word)) return "ERROR";
  return word.startsWith("WARN") ? "WARN" : /^(DEBUG|TRACE)$/.test(word) ? "DEBUG" : "INFO";
}
