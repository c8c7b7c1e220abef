/** One engine process: started, loaded with one model version, watched, and ended. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import type {
  EngineListener,
  EngineResult,
  EngineRun,
  SessionEngines,
} from "../../../core/engines/engine.ts";
import { isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import type { LogLevel } from "../../../core/requests/events.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import { createCallsAhead } from "./prewarmed-calls.ts";
import type { EngineProgram } from "./engine-programs.ts";
import {
  connectEngine,
  type EngineClient,
  type HealthReply,
  type LoadEvent,
} from "../../contract/engine-protocol.ts";
import { runOnEngine } from "./engine-run.ts";
import { holdOnEngine } from "./engine-session.ts";

export type EngineLog = (
  level: LogLevel,
  message: string,
  about: { endpoint: string; version: string; pid?: number },
) => void;

export interface EngineProcess {
  readonly pid: number;
  /** What the process holds: right after the load, later what it said with its last sign of life. */
  readonly memoryMiB: number;
  /**
   * Resolves when the process is gone, with how it ended: "was ended by SIGKILL", "exited with code 1: <last
   * line of stderr>".
   */
  readonly exited: Promise<string>;
  /** As `Engines.run`; a process that dies meanwhile is `runner_disconnected`. */
  run(run: EngineRun, listener: EngineListener, signal: AbortSignal): Promise<EngineResult>;
  /** As `SessionEngines.hold`; a process that dies meanwhile is `runner_disconnected`. */
  hold: SessionEngines["hold"];
  stop(): Promise<void>;
}

export interface EngineStart {
  model: ModelVersion;
  program: EngineProgram;
  /** Path of the Unix socket, made by the engine, removed when it is gone. */
  socket: string;
  workerName: string;
  /** Given to the engine as `TEMPERA_DEVICE`; `cpu` when absent. */
  device?: string;
  log: EngineLog;
  /** Aborting ends a process that is still loading. */
  signal: AbortSignal;
}

/** What every engine may see of the GPU worker's environment: no keys, no addresses of stores. */
const BASIC_ENVIRONMENT = ["PATH", "HOME", "TMPDIR", "LANG", "TZ"];

/** How long an ended process may take to go by itself. */
const STOP_GRACE_MS = 2000;

/**
 * Starts an engine and loads its model version.
 *
 * Rejects with `runner_scheduling_failure` when it cannot be started, dies, refuses the load, or takes longer
 * than `timeouts.loadMs`; the sentence ends with the last line it wrote to stderr. Nothing is left running
 * then.
 */
export async function startEngine({
  model,
  program,
  socket,
  workerName,
  device = "cpu",
  log,
  signal,
}: EngineStart): Promise<EngineProcess> {
  const { endpoint, version } = model;
  await mkdir(dirname(socket), { recursive: true, mode: 0o700 });
  await rm(socket, { force: true });
  const names = [...BASIC_ENVIRONMENT, ...(program.environment ?? [])];
  const env = Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
  env.TEMPERA_DEVICE = device;
  const [command, ...args] = program.command;
  // A process group of its own: Ctrl-C in a terminal reaches the GPU worker alone, which lets running
  // requests end first.
  const child = spawn(command, [...args, socket], { env, stdio: "pipe", detached: true });
  child.stdin.on("error", () => {}); // It closes when the engine dies.

  const lastLine = readOutput(child, (level, message) =>
    log(level, message, { endpoint, version, ...(child.pid && { pid: child.pid }) }),
  );
  const exited = new Promise<string>((resolve) => {
    child.on("error", (error) => resolve(`cannot be started: ${error.message}`));
    // "close" comes after the last output has been read, so the last line of stderr is known.
    child.on("close", (code, by) => {
      const line = lastLine();
      resolve(`${by ? `was ended by ${by}` : `exited with code ${code}`}${line ? `: ${line}` : ""}`);
    });
  });
  const client = connectEngine(socket);
  const calls = createCallsAhead(client);
  void exited.then(() => {
    calls.close();
    client.close();
    return rm(socket, { force: true });
  });

  const stop = async () => {
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS);
    await exited;
    clearTimeout(timer);
  };

  let memoryMiB: number;
  try {
    memoryMiB = await loadModel(client, model, exited, signal, (says) =>
      log("DEBUG", says, { endpoint, version, ...(child.pid && { pid: child.pid }) }),
    );
  } catch (error) {
    child.kill("SIGKILL");
    await exited;
    if (isTemperaError(error) || signal.aborted) throw error;
    const says = error instanceof Error ? error.message : String(error);
    throw new TemperaError("runner_scheduling_failure", `The engine of ${endpoint} ${version} ${says}`, {
      cause: error,
    });
  }
  const pid = child.pid ?? 0;
  const stopWatching = watchHealth(client, model.timeouts.heartbeatMs, {
    onAnswer: ({ memory }) => {
      memoryMiB = memory.usedMib;
    },
    onSilence: (reason) => {
      log("ERROR", `The engine does not answer (${reason}); it is ended.`, { endpoint, version, pid });
      child.kill("SIGKILL");
    },
  });
  void exited.then(stopWatching);

  let faulty = false;
  const onFault = (reason: string) => {
    faulty = true;
    log("ERROR", `${reason} The engine is ended.`, { endpoint, version, pid });
    child.kill("SIGKILL");
  };
  const { silenceMs } = model.timeouts;

  const explained = async (error: unknown): Promise<never> => {
    // A run with a fault of the engine is over when the engine is: it counts as what the engine was running
    // at its end.
    if (faulty) await Promise.race([exited, sleep(STOP_GRACE_MS, undefined, { ref: false })]);
    if (!isTemperaError(error) || error.code !== "runner_disconnected") throw error;
    const how = await endOf(exited);
    throw how ? new TemperaError("runner_disconnected", `The engine ${how}`, { cause: error }) : error;
  };

  return {
    pid,
    get memoryMiB() {
      return memoryMiB;
    },
    exited,
    run: (run, listener, runSignal) =>
      runOnEngine(calls, { worker: workerName, silenceMs, onFault }, run, listener, runSignal).catch(
        explained,
      ),
    hold: (session, inputs, listener, holdSignal) =>
      holdOnEngine(calls, workerName, session, inputs, listener, holdSignal).catch(explained),
    stop,
  };
}

/** Relays stdout and stderr line by line. Returns how to ask for the last line of stderr. */
function readOutput(child: ChildProcess, log: (level: LogLevel, message: string) => void): () => string {
  let last = "";
  const relay = (stream: NodeJS.ReadableStream | null, level: LogLevel) => {
    if (!stream) return;
    createInterface({ input: stream }).on("line", (line) => {
      if (line.trim() === "") return;
      const { level: said, message } = parseLine(line, level);
      if (level === "ERROR") last = message;
      log(said, message);
    });
  };
  relay(child.stdout, "INFO");
  relay(child.stderr, "ERROR");
  return () => last;
}

/** A text line, or a JSON line of pino's shape: `{"level":40,"msg":"…"}`. */
function parseLine(line: string, fallback: LogLevel): { level: LogLevel; message: string } {
  if (!line.startsWith("{")) return { level: fallback, message: line };
  try {
    const {
      level,
      msg,
      message = msg,
    } = JSON.parse(line) as { level?: unknown; msg?: unknown; message?: unknown };
    if (typeof message !== "string") return { level: fallback, message: line };
    if (typeof level !== "number") return { level: fallback, message };
    return { level: level >= 50 ? "ERROR" : level >= 40 ? "WARN" : level >= 30 ? "INFO" : "DEBUG", message };
  } catch {
    return { level: fallback, message: line };
  }
}

/** Resolves with the memory held, in MiB; throws an error whose message goes on from "The engine of … ". */
async function loadModel(
  client: EngineClient,
  model: ModelVersion,
  exited: Promise<string>,
  signal: AbortSignal,
  says: (what: string) => void,
): Promise<number> {
  const deadline = Date.now() + model.timeouts.loadMs;
  let onAbort = () => {};
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
  });
  const load = async () => {
    await new Promise<void>((resolve, reject) =>
      client.waitForReady(deadline, (error) =>
        error ? reject(new Error("did not start in time")) : resolve(),
      ),
    );
    const call = client.load(
      {
        endpoint: model.endpoint,
        version: model.version,
        runner: model.runner,
        folder: model.folder,
        parametersJson: JSON.stringify(model.parameters),
        slots: model.slots,
        digest: model.digest,
        checkpoint: model.checkpoint ?? null,
      },
      { deadline },
    );
    try {
      for await (const event of call as AsyncIterable<LoadEvent>) {
        if (event.progress)
          says(`Loaded ${event.progress.says} (${Math.round(event.progress.fraction * 100)} %)`);
        if (event.loaded) return event.loaded.memory.usedMib;
      }
    } catch (error) {
      const details = (error as { details?: string }).details ?? String(error);
      throw new Error(`could not load: ${details}`);
    }
    throw new Error("ended the load without a word");
  };
  try {
    signal.throwIfAborted();
    const died = exited.then((how) => Promise.reject(new Error(how)));
    died.catch(() => {}); // It loses the race when all is well, and rejects when the engine ends one day.
    const loaded = load().catch(async (error) => {
      const how = await endOf(exited);
      throw how ? new Error(how) : error;
    });
    loaded.catch(() => {});
    return await Promise.race([aborted, died, loaded]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/**
 * A broken connection is the shadow of a dead process: its end gets 250 ms to be seen, since it says more.
 */
const endOf = (exited: Promise<string>): Promise<string | undefined> =>
  Promise.race([exited, sleep(250, undefined)]);

/**
 * Asks for a sign of life every `heartbeatMs`; calls `onSilence` once when none comes within the same time.
 */
function watchHealth(
  client: EngineClient,
  heartbeatMs: number,
  { onAnswer, onSilence }: { onAnswer: (reply: HealthReply) => void; onSilence: (reason: string) => void },
): () => void {
  const timer = setInterval(() => {
    client.health(
      {},
      { deadline: Date.now() + heartbeatMs },
      (error: { details: string } | null, reply?: HealthReply) => {
        if (stopped) return;
        if (!error) return reply && onAnswer(reply);
        stop();
        onSilence(error.details);
      },
    );
  }, heartbeatMs);
  timer.unref();
  let stopped = false;
  const stop = () => {
    stopped = true;
    clearInterval(timer);
  };
  return stop;
}
