import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, openSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { SetupError } from "../setup-error.ts";
import { endWithParent } from "./parent-watch.ts";
import { claimPort, freePort, portInUse } from "./port.ts";

/** Where the services write what they do, one line at a time. */
export type Log = (line: string) => void;

/** A program that this process started and that is ready for use. */
export interface Service extends AsyncDisposable {
  name: string;
  /** What a client is given: `127.0.0.1:7233`, `postgres://…`, `redis://…`, `http://…`. */
  url: string;
  port: number;
  pid: number;
  /** Resolves when the process has ended, whoever ended it: `signal SIGKILL`, `exit code 1`. */
  ended: Promise<string>;
  /** Ends it in order; SIGKILL when it has not ended after ten seconds. Calling it again is no error. */
  stop(): Promise<void>;
  /** SIGKILL, for fault tests. Await `ended` before starting it again. */
  kill(): void;
}

/** What every starter takes. */
export interface ServiceOptions {
  /** Where its state lives, created when missing. */
  folder: string;
  /** A free one when absent or 0. */
  port?: number;
  log: Log;
  env?: NodeJS.ProcessEnv;
}

export interface ProcessSpec {
  /** `Temporal`, as people say it. */
  name: string;
  command: string;
  args: string[];
  env?: NodeJS.ProcessEnv;
  user?: { uid: number; gid: number };
  url: string;
  port: number;
  portVariable: string;
  /** Its output goes here, appended. */
  logFile: string;
  stopSignal: NodeJS.Signals;
  readyWithinMs: number;
  /** Asks the service itself. False or a rejection: not yet. */
  isReady(): Promise<boolean>;
}

const PROBE_EVERY_MS = 50;
const STOP_WITHIN_MS = 10_000;

/**
 * Starts a process in a group of its own and resolves when it says it is ready.
 *
 * Rejects with `setup_failed` when its port is busy, when it ends first, or when it is not ready in time; the
 * message closes with its last words and names its log.
 */
export async function startProcess(spec: ProcessSpec): Promise<Service> {
  await claimPort({ port: spec.port, owner: spec.name, variable: spec.portVariable });
  mkdirSync(dirname(spec.logFile), { recursive: true });
  const output = openSync(spec.logFile, "a");
  const saidBefore = fstatSync(output).size;
  const child = spawn(spec.command, spec.args, {
    detached: true,
    stdio: ["ignore", output, output],
    env: spec.env ?? process.env,
    ...spec.user,
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
    const patience = new AbortController();
    const forced = sleep(STOP_WITHIN_MS, undefined, { signal: patience.signal }).then(
      () => send("SIGKILL"),
      () => {},
    );
    await ended;
    patience.abort();
    await forced;
  };

  const deadline = Date.now() + spec.readyWithinMs;
  while (!(await spec.isReady().catch(() => false))) {
    if (hasEnded) {
      const words = await lastWords(spec.logFile);
      // Anywhere in what it said: a program may say this first and then break down at length.
      const said = (await readFile(spec.logFile)).subarray(saidBefore).toString();
      if (/address already in use/i.test(said))
        throw portInUse({ port: spec.port, owner: spec.name, variable: spec.portVariable });
      throw new SetupError(
        `${spec.name} ended before it was ready (${await ended}): ${words}; log: ${spec.logFile}`,
      );
    }
    if (Date.now() > deadline) {
      await stop();
      throw new SetupError(
        `${spec.name} was not ready within ${spec.readyWithinMs / 1000} s: ${await lastWords(spec.logFile)}; log: ${spec.logFile}`,
      );
    }
    await sleep(PROBE_EVERY_MS);
  }
  if (hasEnded) throw portInUse({ port: spec.port, owner: spec.name, variable: spec.portVariable });

  return {
    name: spec.name,
    url: spec.url,
    port: spec.port,
    pid,
    ended,
    stop,
    kill: () => send("SIGKILL"),
    [Symbol.asyncDispose]: stop,
  };
}

/** The port that was asked for; a free one for none and for 0. */
export const choosePort = async (port: number | undefined): Promise<number> => port || (await freePort());

/** The last lines of a log, on one line. */
async function lastWords(logFile: string): Promise<string> {
  const text = await readFile(logFile, "utf8").catch(() => "");
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  return lines.slice(-3).join(" | ") || "it said nothing";
}
