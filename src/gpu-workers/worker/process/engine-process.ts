/**
 * One engine process: started, loaded with one model version, watched, and ended.
 *
 * A folder of three layers: `spawn-engine.ts` is the operating system's side of the process, `load-model.ts`
 * and `engine-call.ts` are the calls of `engine.proto`, and `EngineProcess` here puts them together.
 */
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type {
  EngineListener,
  EngineResult,
  EngineRun,
  EngineSession,
  SessionListener,
} from "../../../core/engines/engine.ts";
import { isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { LogLevel } from "../../../core/requests/events.ts";
import type { Frame } from "../../../core/requests/session.ts";
import {
  connectEngine,
  type EngineClient,
  type HealthReply,
  type Memory,
} from "../../contract/engine-protocol.ts";
import type { Cage } from "../cage/cage.ts";
import type { CallTarget, EngineFault } from "./engine-call.ts";
import type { EngineProgram } from "./engine-programs.ts";
import { runOnEngine } from "./engine-run.ts";
import { holdOnEngine } from "./engine-session.ts";
import { endOf, loadModel } from "./load-model.ts";
import { PrewarmedCalls } from "./prewarmed-calls.ts";
import { engineIdOf, killEngine, type SpawnedEngine, spawnEngine } from "./spawn-engine.ts";

export type EngineLog = (
  level: LogLevel,
  message: string,
  about: { endpoint: string; version: string; pid?: number },
) => void;

export interface EngineStart {
  model: ModelVersion;
  program: EngineProgram;
  /** Path of the Unix socket. The engine makes it; it is removed when the engine is gone. */
  socket: string;
  workerName: string;
  /** Given to the engine as `TEMPERA_DEVICE`. @default "cpu" */
  device?: string;
  /** Isolates the engine. @default isolation is off */
  cage?: Cage | undefined;
  log: EngineLog;
  /** Called with the memory that the engine reports with each sign of life. */
  onMemory?: (memory: Memory) => void;
  /** Ends a process that is still loading. */
  signal: AbortSignal;
}

/** A failed call of gRPC. */
interface GrpcFailure {
  code: number;
  details: string;
}

/** gRPC's status of a call that was not answered in time. */
const DEADLINE_EXCEEDED = 4;

/** Time that a process has to exit by itself, before it is killed. */
const STOP_GRACE_MS = 2000;

/**
 * Starts an engine and loads its model version.
 *
 * Rejects with `runner_scheduling_failure` when the engine cannot be started, dies, refuses the load, or
 * takes longer than `timeouts.loadMs`; the message ends with the last line that it wrote to stderr. Nothing
 * is left running then.
 */
export async function startEngine(start: EngineStart): Promise<EngineProcess> {
  const { model, program, socket, device = "cpu", cage, log, signal } = start;
  const name = { endpoint: model.endpoint, version: model.version };
  const spawned = await spawnEngine({
    model,
    program,
    socket,
    device,
    cage,
    onLine: (level, message, pid) => log(level, message, { ...name, ...(pid && { pid }) }),
  });
  const { child, exited } = spawned;
  const client = connectEngine(socket);
  const calls = new PrewarmedCalls(client);
  void exited.then(() => {
    calls.close();
    client.close();
    return rm(socket, { force: true });
  });
  try {
    const memoryMiB = await loadModel(client, model, exited, signal, (message) =>
      log("DEBUG", message, { ...name, ...(child.pid && { pid: child.pid }) }),
    );
    await spawned.enclosed?.seal();
    return new EngineProcess(start, spawned, client, calls, memoryMiB);
  } catch (error) {
    killEngine(spawned);
    await exited;
    if (isTemperaError(error) || signal.aborted) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new TemperaError(
      "runner_scheduling_failure",
      `The engine of ${name.endpoint} ${name.version} ${reason}`,
      { cause: error },
    );
  }
}

/**
 * An engine with its model version loaded. Its process is killed when it misses a sign of life, hangs in a
 * run or breaks the engine contract: such an engine cannot be trusted with anything more.
 */
export class EngineProcess {
  readonly pid: number;
  /** Resolves when the process is gone, with how it ended; see `SpawnedEngine.exited`. */
  readonly exited: Promise<string>;
  readonly #start: EngineStart;
  readonly #spawned: SpawnedEngine;
  readonly #client: EngineClient;
  readonly #calls: PrewarmedCalls;
  #memoryMiB: number;
  /** The failure that a call has found, for which the process has been killed. */
  #fault: EngineFault | undefined;
  #hasHung = false;

  constructor(
    start: EngineStart,
    spawned: SpawnedEngine,
    client: EngineClient,
    calls: PrewarmedCalls,
    memoryMiB: number,
  ) {
    const { exited } = spawned;
    this.pid = engineIdOf(spawned);
    this.exited = exited;
    this.#start = start;
    this.#spawned = spawned;
    this.#client = client;
    this.#calls = calls;
    this.#memoryMiB = memoryMiB;
    const stopWatching = watchHealth(client, start.model.timeouts.heartbeatMs, {
      onAnswer: ({ memory }) => {
        this.#memoryMiB = memory.usedMib;
        start.onMemory?.(memory);
      },
      onSilence: ({ code, details }) => {
        // The connection of a process that ends by itself breaks, perhaps before its end is seen.
        this.#hasHung = code === DEADLINE_EXCEEDED;
        this.#kill(`The engine does not answer (${details}); it is ended.`);
      },
    });
    void exited.then(stopWatching);
  }

  /** Memory that the process holds, as of its load or its last sign of life. */
  get memoryMiB(): number {
    return this.#memoryMiB;
  }

  /** It was ended because it was silent, so a run that was cancelled long before may be the reason. */
  get hasHung(): boolean {
    return this.#hasHung;
  }

  /** The fault of the device for which it was ended. */
  get deviceFault(): EngineFault | undefined {
    return this.#fault?.code === "runner_device_fault" ? this.#fault : undefined;
  }

  /**
   * Asks the engine how many runs and sessions it has in hand, with those whose callers have gone. Resolves
   * with `undefined` when it does not answer.
   */
  inHand(): Promise<number | undefined> {
    const deadline = Date.now() + this.#start.model.timeouts.heartbeatMs;
    const count = new Promise<number | undefined>((resolve) => {
      this.#client.health({}, { deadline }, (error: GrpcFailure | null, reply?: HealthReply) =>
        resolve(error || !reply ? undefined : reply.running + reply.waiting),
      );
    });
    // The client of a process that is gone is closed, and throws.
    return count.catch(() => undefined);
  }

  /** Runs a request as `Engines.run` does; a process that dies meanwhile is `runner_disconnected`. */
  async run(run: EngineRun, listener: EngineListener, signal: AbortSignal): Promise<EngineResult> {
    const target = { ...this.#callTarget(), silenceMs: this.#start.model.timeouts.silenceMs };
    try {
      await using loan = await this.#spawned.enclosed?.files.lend(run.files ?? []);
      const lent = loan ? { ...run, files: loan.files } : run;
      return await runOnEngine(this.#calls, target, lent, listener, signal);
    } catch (error) {
      throw await this.#explain(error);
    }
  }

  /**
   * Holds a session as `SessionEngines.hold` does; a process that dies meanwhile is `runner_disconnected`.
   */
  async hold(
    session: EngineSession,
    inputs: AsyncIterable<Frame>,
    listener: SessionListener,
    signal: AbortSignal,
  ): Promise<void> {
    const lent = this.#spawned.enclosed?.files.lendFrames(inputs, listener);
    try {
      const target = this.#callTarget();
      const [frames, hears] = lent ? [lent.inputs, lent.listener] : [inputs, listener];
      await holdOnEngine(this.#calls, target, session, frames, hears, signal);
    } catch (error) {
      throw await this.#explain(error);
    } finally {
      await lent?.end();
    }
  }

  /**
   * Asks the process to exit, and kills it when it takes longer than two seconds. Resolves when it is gone.
   */
  async stop(): Promise<void> {
    this.#spawned.child.stdin.end();
    const timer = setTimeout(() => killEngine(this.#spawned), STOP_GRACE_MS);
    await this.exited;
    clearTimeout(timer);
  }

  #callTarget(): CallTarget {
    const onFault = (fault: EngineFault) => {
      // The first one names the cause; others follow from it.
      if (this.#fault) return;
      this.#fault = fault;
      this.#hasHung = fault.code === "runner_connection_timeout";
      this.#kill(`${fault.message} The engine is ended.`);
    };
    return { worker: this.#start.workerName, onFault };
  }

  #kill(message: string): void {
    const { endpoint, version } = this.#start.model;
    this.#start.log("ERROR", message, { endpoint, version, pid: this.pid });
    killEngine(this.#spawned);
  }

  /** Replaces the error of a broken connection by how the process ended. */
  async #explain(error: unknown): Promise<unknown> {
    // A call that found the engine faulty ends after the engine, so that it counts as running at its end.
    if (this.#fault) await Promise.race([this.exited, sleep(STOP_GRACE_MS, undefined, { ref: false })]);
    if (!isTemperaError(error) || error.code !== "runner_disconnected") return error;
    // Whoever ran on a dead engine leaves it after its end was noticed, or nobody would be blamed for it.
    const reason = await endOf(this.exited, STOP_GRACE_MS);
    return reason ? new TemperaError("runner_disconnected", `The engine ${reason}`, { cause: error }) : error;
  }
}

/**
 * Asks for a sign of life every `heartbeatMs`. Calls `onSilence` once when no answer comes within the same
 * time. Returns a function that stops asking.
 */
function watchHealth(
  client: EngineClient,
  heartbeatMs: number,
  {
    onAnswer,
    onSilence,
  }: { onAnswer: (reply: HealthReply) => void; onSilence: (failure: GrpcFailure) => void },
): () => void {
  let stopped = false;
  const stop = () => {
    stopped = true;
    clearInterval(timer);
  };
  const ask = () => {
    const deadline = Date.now() + heartbeatMs;
    client.health({}, { deadline }, (error: GrpcFailure | null, reply?: HealthReply) => {
      if (stopped) return;
      if (!error) return reply && onAnswer(reply);
      stop();
      onSilence(error);
    });
  };
  const timer = setInterval(ask, heartbeatMs);
  timer.unref();
  return stop;
}
