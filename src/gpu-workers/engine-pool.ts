/** The pool of engines of one GPU worker: one process for each loaded model version, started on demand and kept warm. */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Engines, SessionEngines } from "../core/engine.ts";
import { TemperaError } from "../core/errors/tempera-error.ts";
import { type ModelVersion, taskQueueOf } from "../core/model.ts";
import { type EngineLog, type EngineProcess, startEngine } from "./engine-process.ts";
import type { EngineProgram } from "./engine-programs.ts";
import { SOCKET_PATH_BYTES_MAX } from "./engine-protocol.ts";
import { createSlots, type Slots } from "./slots.ts";

export interface EnginePoolDependencies {
  findModel: (endpoint: string, version: string) => ModelVersion | undefined;
  /** `engine:` of a manifest → the program that serves it. */
  programs: Record<string, EngineProgram>;
  /** Where the sockets are made; must be this pool's alone, and short (a Unix socket's path holds about 100 bytes). */
  folder: string;
  /** What `started` says of where a request runs. */
  workerName: string;
  log: EngineLog;
}

/** The state of one model version's engine, for operators. */
export interface EngineStatus {
  endpoint: string;
  version: string;
  state: "stopped" | "loading" | "ready";
  pid?: number;
  memoryMiB?: number;
  running: number;
  waiting: number;
  /** Starts in a row that failed, or ended right after the load. */
  failures: number;
  lastFailure?: string;
}

export interface EnginePool extends Engines, SessionEngines, AsyncDisposable {
  /** Loads a model version before it is asked for. Rejects with `runner_scheduling_failure`. */
  warm(model: Pick<ModelVersion, "endpoint" | "version">): Promise<void>;
  list(): EngineStatus[];
}

/** An engine that dies sooner than this after its load, without having finished a run, counts as a failed start. */
const EARLY_DEATH_MS = 1000;
const PAUSE_INITIAL_MS = 250;
const PAUSE_MAXIMUM_MS = 30_000;

/** The place of one model version in the pool; its engine comes and goes. */
interface Seat {
  model: ModelVersion;
  slots: Slots;
  engine?: EngineProcess;
  /** The load under way, shared by everyone who waits for it. */
  loading?: Promise<EngineProcess>;
  failures: number;
  lastFailure?: string;
  /** No new start before this moment. */
  startAfterMs: number;
}

export function createEnginePool({ findModel, programs, folder, workerName, log }: EnginePoolDependencies): EnginePool {
  const seats = new Map<string, Seat>();
  const closing = new AbortController();
  let sockets = 0;

  const seatOf = ({ endpoint, version }: Pick<ModelVersion, "endpoint" | "version">): Seat => {
    const place = taskQueueOf({ endpoint, version });
    const known = seats.get(place);
    if (known) return known;
    const model = findModel(endpoint, version);
    if (!model) throw new TemperaError("runner_scheduling_failure", `This GPU worker has no model ${endpoint} ${version}.`);
    const seat: Seat = { model, slots: createSlots(model.slots), failures: 0, startAfterMs: 0 };
    seats.set(place, seat);
    return seat;
  };

  const failed = (seat: Seat, reason: string) => {
    seat.startAfterMs = Date.now() + Math.min(PAUSE_INITIAL_MS * 2 ** seat.failures, PAUSE_MAXIMUM_MS);
    seat.failures++;
    seat.lastFailure = reason;
  };

  const start = async (seat: Seat): Promise<EngineProcess> => {
    const { endpoint, version, engine: kind } = seat.model;
    const program = Object.hasOwn(programs, kind) ? programs[kind] : undefined;
    if (!program) throw new TemperaError("runner_scheduling_failure", `There is no engine "${kind}"; ${endpoint} ${version} names it.`);
    const socket = join(folder, `${process.pid}-${sockets++}.sock`);
    if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
      throw new TemperaError("runner_scheduling_failure", `${socket} is too long for a Unix socket: choose a shorter data folder.`);
    }
    await pause(seat.startAfterMs - Date.now(), closing.signal);
    const sinceMs = Date.now();
    let engine: EngineProcess;
    try {
      engine = await startEngine({ model: seat.model, program, socket, workerName, log, signal: closing.signal });
    } catch (error) {
      failed(seat, error instanceof Error ? error.message : String(error));
      throw error;
    }
    const readyMs = Date.now();
    log("INFO", `Loaded in ${readyMs - sinceMs} ms.`, { endpoint, version, pid: engine.pid });
    seat.engine = engine;
    void engine.exited.then((how) => {
      if (seat.engine === engine) delete seat.engine;
      if (closing.signal.aborted) return;
      log("ERROR", `The engine ${how}`, { endpoint, version, pid: engine.pid });
      if (Date.now() - readyMs < EARLY_DEATH_MS) failed(seat, `The engine ${how}`);
    });
    return engine;
  };

  const engineOf = (seat: Seat): Promise<EngineProcess> => {
    if (seat.engine) return Promise.resolve(seat.engine);
    seat.loading ??= start(seat).finally(() => {
      delete seat.loading;
    });
    return seat.loading;
  };

  /** Takes a slot and an engine, loading one first when none is warm; gives the slot back when the work has ended. */
  const withEngine = async <T>(
    model: Pick<ModelVersion, "endpoint" | "version">,
    signal: AbortSignal,
    work: (engine: EngineProcess, stop: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const seat = seatOf(model);
    const stop = AbortSignal.any([signal, closing.signal]);
    let release: (() => void) | undefined;
    try {
      release = await seat.slots.acquire(stop);
      const engine = seat.engine ?? (await unlessAborted(engineOf(seat), stop));
      const result = await work(engine, stop);
      seat.failures = 0;
      return result;
    } catch (error) {
      if (signal.aborted) throw new TemperaError("client_cancelled");
      if (closing.signal.aborted) throw new TemperaError("runner_disconnected", "The GPU worker is going away.");
      throw error;
    } finally {
      release?.();
    }
  };

  return {
    run: (run, listener, signal) => withEngine(run, signal, (engine, stop) => engine.run(run, listener, stop)),

    hold: (session, inputs, listener, signal) =>
      withEngine(session, signal, (engine, stop) => engine.hold(session, inputs, listener, stop)),

    async warm(model) {
      await engineOf(seatOf(model));
    },

    list: () =>
      [...seats.values()].map(({ model, slots, engine, loading, failures, lastFailure }) => ({
        endpoint: model.endpoint,
        version: model.version,
        state: engine ? ("ready" as const) : loading ? ("loading" as const) : ("stopped" as const),
        ...(engine && { pid: engine.pid, memoryMiB: engine.memoryMiB }),
        running: slots.running,
        waiting: slots.waiting,
        failures,
        ...(lastFailure !== undefined && { lastFailure }),
      })),

    async [Symbol.asyncDispose]() {
      closing.abort(new TemperaError("runner_disconnected", "The GPU worker is going away."));
      const all = [...seats.values()];
      await Promise.allSettled(all.map((seat) => seat.loading));
      await Promise.all(all.map((seat) => seat.engine?.stop()));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Rejects with the signal's reason as soon as it aborts; the promise itself goes on for the others who wait for it. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  ms <= 0
    ? Promise.resolve()
    : new Promise((resolve, reject) => {
        const onAbort = () => {
          clearTimeout(timer);
          reject(signal.reason);
        };
        const timer = setTimeout(() => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        }, ms);
        signal.addEventListener("abort", onAbort, { once: true });
      });
