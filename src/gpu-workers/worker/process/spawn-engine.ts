/** The operating system's side of an engine: its process, its environment, its output, its end. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { parseJson } from "../../../core/json/exact-json.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { LogLevel } from "../../../core/requests/events.ts";
import type { Cage, EnclosedEngine } from "../cage/cage.ts";
import { signalOf } from "../cage/enter-cage.ts";
import type { EngineProgram } from "./engine-programs.ts";

export interface SpawnedEngine {
  child: ChildProcessWithoutNullStreams;
  /**
   * Resolves when the process is gone, with how it ended: "was ended by SIGKILL", "exited with code 1: <last
   * line of stderr>", "cannot be started: …".
   */
  exited: Promise<string>;
  /** What isolates the engine; `undefined` when isolation is off. */
  enclosed: EnclosedEngine | undefined;
}

export interface SpawnOptions {
  model: Pick<ModelVersion, "folder" | "memoryMiB">;
  program: EngineProgram;
  socket: string;
  device: string;
  /** Isolates the engine. @default isolation is off */
  cage?: Cage | undefined;
  /** Called with each line of stdout and stderr. */
  onLine: (level: LogLevel, message: string, pid: number | undefined) => void;
}

/**
 * The only variables of the GPU worker's environment that every engine sees: no keys and no addresses of
 * stores, since engines run other people's code.
 */
const BASIC_ENVIRONMENT = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"];

export async function spawnEngine(options: SpawnOptions): Promise<SpawnedEngine> {
  const { model, program, socket, device, cage, onLine } = options;
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  await rm(socket, { force: true });
  const environment = environmentOf(program, device);
  const enclosed = await cage?.enclose({ ...model, program, socket, environment, device });
  if (enclosed?.warning) onLine("WARN", enclosed.warning, undefined);
  const [command, ...args] = enclosed?.command ?? [...program.command, socket];
  // A process group of its own: Ctrl-C in a terminal reaches the GPU worker alone, which lets running
  // requests end first.
  const child = spawn(command, args, {
    env: enclosed?.environment ?? environment,
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
      const signal = endedBy ?? (enclosed && signalOf(code));
      resolve(`${signal ? `was ended by ${signal}` : `exited with code ${code}`}${line ? `: ${line}` : ""}`);
    });
  }).then(async (reason) => {
    await enclosed?.remove();
    return reason;
  });
  return { child, exited, enclosed };
}

/** Kills an engine and all that it has started: they are a process group. */
export function killEngine({ child }: Pick<SpawnedEngine, "child">): void {
  try {
    if (child.pid) process.kill(-child.pid, "SIGKILL");
  } catch {
    // It has ended already.
  }
}

/**
 * Finds the process id of the engine itself, which is the child process unless it is isolated by namespaces:
 * then it is a process below.
 */
export function engineIdOf({ child, enclosed }: SpawnedEngine): number {
  let pid = child.pid ?? 0;
  for (let depth = enclosed?.depth ?? 0; depth > 0; depth--) {
    try {
      pid = Number.parseInt(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8"), 10) || pid;
    } catch {
      // It has ended.
    }
  }
  return pid;
}

function environmentOf(program: EngineProgram, device: string): Record<string, string> {
  const names = [...BASIC_ENVIRONMENT, ...(program.environment ?? [])];
  const passedOn = names.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
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
