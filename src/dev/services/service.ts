/**
 * Programs that this process starts and stops: PostgreSQL, Redis, MinIO and Temporal for development and
 * tests.
 */
import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { sleep } from "../../core/concurrency/sleep.ts";
import { SetupError } from "../setup-error.ts";
import { endWithParent } from "./parent-watch.ts";
import { claimPort, freePort, portInUse } from "./port.ts";
import { type Command, withOwnRights } from "./user-rights.ts";

/** Receives what the services report, one line at a time. */
export type Log = (line: string) => void;

/** A program that this process started and that is ready for use. */
export interface Service extends AsyncDisposable {
  name: string;
  /** The address for clients: `127.0.0.1:7233`, `postgres://…`, `redis://…`, `http://…`. */
  url: string;
  port: number;
  pid: number;
  /** Resolves when the process has ended for any reason: `signal SIGKILL`, `exit code 1`. */
  ended: Promise<string>;
  /** Stops it gracefully, and with SIGKILL after ten seconds. May be called again. */
  stop(): Promise<void>;
  /** Sends SIGKILL, for fault tests. Await `ended` before starting it again. */
  kill(): void;
}

/** Options of every `start…` function. */
export interface ServiceOptions {
  /** Holds its state; created when it is missing. */
  folder: string;
  /** A free port when absent or 0. */
  port?: number;
  log: Log;
  env?: NodeJS.ProcessEnv;
  /** Ends the start: installations and programs that are not ready are stopped, and the start rejects. */
  signal?: AbortSignal | undefined;
}

export interface ProcessSpec extends Command {
  /** Its name in messages: `Temporal`. */
  name: string;
  env?: NodeJS.ProcessEnv;
  /** Its working directory, else that of this process. */
  cwd?: string;
  url: string;
  port: number;
  portVariable: string;
  /** This process listens on the port in its place. */
  isPortHeld?: boolean;
  /** Opens the way to it, once it was started. */
  onStarted?(pid: number): Promise<void>;
  /** Its output is appended here. */
  logFile: string;
  stopSignal: NodeJS.Signals;
  readyWithinMs: number;
  /** Aborts the start: the process is stopped, and the start rejects. Has no effect once it is ready. */
  signal?: AbortSignal | undefined;
  /** Asks the service itself. False or a rejection means not yet. */
  isReady(): Promise<boolean>;
}

const PROBE_EVERY_MS = 50;
const STOP_WITHIN_MS = 10_000;

/**
 * Starts a process in a group of its own and resolves when it is ready. Only its user can open its files.
 *
 * Rejects with `setup_failed` when its port is in use, when it ends first, or when it is not ready in time;
 * the message ends with its last lines of output and names its log.
 */
export async function startProcess(spec: ProcessSpec): Promise<Service> {
  if (!spec.isPortHeld) await claimPort({ port: spec.port, owner: spec.name, variable: spec.portVariable });
  mkdirSync(dirname(spec.logFile), { recursive: true, mode: 0o700 });
  spec.signal?.throwIfAborted();
  const running = await launch(spec);
  await spec.onStarted?.(running.pid).catch(async (error) => {
    // A process that has ended is reported with its last lines.
    if (running.hasEnded()) return;
    await running.stop();
    throw error;
  });
  await awaitReady(spec, running);
  return {
    name: spec.name,
    url: spec.url,
    port: spec.port,
    pid: running.pid,
    ended: running.ended,
    stop: running.stop,
    kill: () => running.send("SIGKILL"),
    [Symbol.asyncDispose]: running.stop,
  };
}

/** A process that was started and may not be ready. */
interface RunningProcess extends Pick<Service, "pid" | "ended" | "stop"> {
  hasEnded(): boolean;
  send(signal: NodeJS.Signals): void;
  /** Length of its log before it started. */
  logBytesBefore: number;
}

async function launch(spec: ProcessSpec): Promise<RunningProcess> {
  const { command, args, user } = await withOwnRights(spec);
  const output = openSync(spec.logFile, "a", 0o600);
  const logBytesBefore = fstatSync(output).size;
  const child = spawn(command, args, {
    detached: true,
    stdio: ["ignore", output, output],
    env: spec.env ?? process.env,
    ...(spec.cwd && { cwd: spec.cwd }),
    ...user,
  });
  closeSync(output);

  let hasEnded = false;
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ? `signal ${signal}` : `exit code ${code}`));
  }).then((how) => {
    hasEnded = true;
    return how;
  });
  const { pid } = child;
  if (pid === undefined) throw new SetupError(`${spec.name} cannot be started: ${await ended}`);
  const forget = endWithParent(pid, spec.stopSignal);
  void ended.then(forget);

  const send = (signal: NodeJS.Signals) => {
    if (!hasEnded) child.kill(signal);
  };
  const stop = async () => {
    send(spec.stopSignal);
    const forced = setTimeout(() => send("SIGKILL"), STOP_WITHIN_MS);
    await ended;
    clearTimeout(forced);
  };
  return { pid, ended, stop, send, hasEnded: () => hasEnded, logBytesBefore };
}

/** Resolves when the process is ready. Rejects when it ends first; stops it when it is not ready in time. */
async function awaitReady(spec: ProcessSpec, running: RunningProcess): Promise<void> {
  const claim = { port: spec.port, owner: spec.name, variable: spec.portVariable };
  const deadline = Date.now() + spec.readyWithinMs;
  while (!(await spec.isReady().catch(() => false))) {
    if (running.hasEnded()) {
      // Searched in all of its output: a program may print this first and a long stack trace after it.
      const output = (await readFile(spec.logFile)).subarray(running.logBytesBefore).toString();
      if (/address already in use/i.test(output)) throw portInUse(claim);
      throw new SetupError(
        `${spec.name} ended before it was ready (${await running.ended}): ` +
          `${await lastLines(spec.logFile)}; log: ${spec.logFile}`,
      );
    }
    if (spec.signal?.aborted) {
      await running.stop();
      spec.signal.throwIfAborted();
    }
    if (Date.now() > deadline) {
      await running.stop();
      throw new SetupError(
        `${spec.name} was not ready within ${spec.readyWithinMs / 1000} s: ` +
          `${await lastLines(spec.logFile)}; log: ${spec.logFile}`,
      );
    }
    await sleep(PROBE_EVERY_MS);
  }
  if (running.hasEnded()) throw portInUse(claim);
}

/** Returns the requested port, or a free one for none and for 0. */
export async function choosePort(port: number | undefined): Promise<number> {
  return port || (await freePort());
}

/** Returns the last lines of a log, joined to one line. */
async function lastLines(logFile: string): Promise<string> {
  const text = await readFile(logFile, "utf8").catch(() => "");
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.slice(-3).join(" | ") || "it printed nothing";
}
