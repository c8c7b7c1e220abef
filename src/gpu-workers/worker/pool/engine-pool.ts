/**
 * The pool of engines of one GPU worker: one process for each loaded model version, started on demand and
 * kept warm within the device's memory.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { type Engines, RunHandedOver, type SessionEngines } from "../../../core/engines/engine.ts";
import type { EngineStatus } from "../../../core/engines/engine-status.ts";
import { CATALOGUE } from "../../../core/errors/catalogue.ts";
import { isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";
import { type CrashRecord, createCrashRecord } from "./circuit-breaker.ts";
import { type EngineLog, type EngineProcess, startEngine } from "./engine-process.ts";
import type { EngineProgram } from "./engine-programs.ts";
import { SOCKET_PATH_BYTES_MAX } from "../../contract/engine-protocol.ts";
import { leaversFor } from "./eviction.ts";
import { createSlots, type Slots } from "./slots.ts";

type Named = Pick<ModelVersion, "endpoint" | "version">;

export interface EnginePoolDependencies {
  findModel: (endpoint: string, version: string) => ModelVersion | undefined;
  /** `engine:` of a manifest → the program that serves it. */
  programs: Record<string, EngineProgram>;
  /**
   * Where the sockets are made; must be this pool's alone, and short (a Unix socket's path holds about 100
   * bytes).
   */
  folder: string;
  /** What `started` says of where a request runs. */
  workerName: string;
  log: EngineLog;
  /** Told to every engine: `cpu`, `cuda:0`, `tensorrt:0`. */
  device?: string;
  /** What the engines may hold together. Default: no bound. */
  budgetMiB?: number;
}

/** What the pool knows of one model version. */
export interface PoolStatus extends Omit<EngineStatus, "polled"> {
  /**
   * What its engine needs: what the manifest says, or what one has held right after its load when that was
   * more.
   */
  needMiB: number;
  pinned: boolean;
  lastUsedMs: number;
}

export interface EnginePool extends Engines, SessionEngines, AsyncDisposable {
  /**
   * Makes a place for a model version: it is listed from now on. Throws `runner_scheduling_failure` when it
   * is larger than the whole budget.
   */
  admit(model: Named): void;
  /** Loads a model version before it is asked for. Rejects with `runner_scheduling_failure`. */
  warm(model: Named): Promise<void>;
  /** Ends a model version's engine and forgets it. What still runs on it fails as if the engine had gone. */
  drop(model: Named): Promise<void>;
  list(): PoolStatus[];
  /** Puts a model version back into rotation and forgets its crashes. */
  reset(model: Named): void;
  /** Calls `listener` after each change of what `list` says, except for memory. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

/**
 * An engine that dies sooner than this after its load counts as one that hardly came up: the next start
 * waits.
 */
const EARLY_DEATH_MS = 1000;

/** The place of one model version in the pool; its engine comes and goes. */
interface Seat {
  model: ModelVersion;
  slots: Slots;
  crashes: CrashRecord;
  needMiB: number;
  pinned: boolean;
  lastUsedMs: number;
  /** What its engine is at work on. */
  running: Set<{ requestId: string }>;
  engine?: EngineProcess;
  /** The load under way, shared by everyone who waits for it. */
  loading?: Promise<EngineProcess>;
}

export function createEnginePool({
  findModel,
  programs,
  folder,
  workerName,
  log,
  device = "cpu",
  budgetMiB = Number.POSITIVE_INFINITY,
}: EnginePoolDependencies): EnginePool {
  const seats = new Map<string, Seat>();
  const closing = new AbortController();
  /** Memory that is spoken for: one entry for each process from before its start until after its end. */
  const held = new Map<symbol, number>();
  const ending = new Set<Promise<void>>();
  const listeners = new Set<() => void>();
  let sockets = 0;

  const changed = () => {
    for (const listener of [...listeners]) listener();
  };

  const refuseTooLarge = ({ model, needMiB }: Seat) => {
    if (needMiB <= budgetMiB) return;
    throw new TemperaError(
      "runner_scheduling_failure",
      `${model.endpoint} ${model.version} needs ${needMiB} MiB and this GPU worker has ${budgetMiB} MiB for engines: serve it on a larger device, or raise TEMPERA_WORKER_MEMORY_MIB.`,
    );
  };

  const seatOf = ({ endpoint, version }: Named): Seat => {
    const place = taskQueueOf({ endpoint, version });
    const known = seats.get(place);
    if (known) return known;
    const model = findModel(endpoint, version);
    if (!model)
      throw new TemperaError(
        "runner_scheduling_failure",
        `This GPU worker has no model ${endpoint} ${version}.`,
      );
    const { slots, memoryMiB: needMiB, pinned } = model;
    const seat: Seat = {
      model,
      slots: createSlots(slots),
      crashes: createCrashRecord(),
      needMiB,
      pinned,
      lastUsedMs: 0,
      running: new Set(),
    };
    refuseTooLarge(seat);
    seats.set(place, seat);
    return seat;
  };

  const refuseOut = ({ model, crashes }: Seat) => {
    if (!crashes.out) return;
    throw new TemperaError(
      "runner_scheduling_failure",
      `${model.endpoint} ${model.version} is out of rotation on ${workerName} (${crashes.lastFailure}); when that is mended: tempera engines reset ${model.endpoint}`,
    );
  };

  const crashed = (seat: Seat, reason: string, running: string[], early: boolean) => {
    const { endpoint, version } = seat.model;
    const before = seat.crashes.out;
    seat.crashes.crashed(reason, running, early);
    if (seat.crashes.out && !before)
      log(
        "ERROR",
        `Out of rotation after ${LIMITS.engineCrashesMax} crashes in a row; \`tempera engines reset ${endpoint}\` puts it back.`,
        {
          endpoint,
          version,
        },
      );
    changed();
  };

  const freeMiB = (): number => budgetMiB - [...held.values()].reduce((sum, mib) => sum + mib, 0);

  const idleBeside = (seat: Seat): Seat[] =>
    [...seats.values()].filter(
      (other) => other !== seat && other.engine && other.slots.running === 0 && other.slots.waiting === 0,
    );

  /** Ends an engine that nobody uses. Its memory is free when it is gone. */
  const evict = (seat: Seat, why = "Unloaded to make room"): Promise<void> => {
    const { engine, model, needMiB } = seat;
    if (!engine) return Promise.resolve();
    delete seat.engine;
    log("INFO", `${why}: ${needMiB} MiB.`, {
      endpoint: model.endpoint,
      version: model.version,
      pid: engine.pid,
    });
    const gone: Promise<void> = engine.stop().finally(() => ending.delete(gone));
    ending.add(gone);
    return gone;
  };

  /**
   * Who waits for room takes it in the order they came: a large model is not overtaken by small ones for
   * ever.
   */
  let line: Promise<unknown> = Promise.resolve();
  const takeRoom = (seat: Seat): Promise<symbol> => {
    const taken = line.then(async () => {
      for (;;) {
        closing.signal.throwIfAborted();
        const leavers = leaversFor(seat.needMiB, freeMiB(), idleBeside(seat));
        if (leavers?.length === 0) break;
        await (leavers ? Promise.all(leavers.map((leaver) => evict(leaver))) : nextChange());
      }
      const token = Symbol(seat.model.endpoint);
      held.set(token, seat.needMiB);
      return token;
    });
    line = taken.catch(() => {});
    return taken;
  };
  const nextChange = (): Promise<void> =>
    new Promise((resolve) => {
      const done = () => {
        listeners.delete(done);
        closing.signal.removeEventListener("abort", done);
        resolve();
      };
      listeners.add(done);
      closing.signal.addEventListener("abort", done, { once: true });
    });
  const giveRoom = (token: symbol) => {
    held.delete(token);
    changed();
  };

  const start = async (seat: Seat): Promise<EngineProcess> => {
    const { endpoint, version, engine: kind } = seat.model;
    const program = Object.hasOwn(programs, kind) ? programs[kind] : undefined;
    if (!program)
      throw new TemperaError(
        "runner_scheduling_failure",
        `There is no engine "${kind}"; ${endpoint} ${version} names it.`,
      );
    const socket = join(folder, `${process.pid}-${sockets++}.sock`);
    if (Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
      throw new TemperaError(
        "runner_scheduling_failure",
        `${socket} is too long for a Unix socket: choose a shorter data folder.`,
      );
    }
    await pause(seat.crashes.startAfterMs - performance.now(), closing.signal);
    refuseOut(seat);
    const room = await takeRoom(seat);
    const sinceMs = Date.now();
    let engine: EngineProcess;
    try {
      engine = await startEngine({
        model: seat.model,
        program,
        socket,
        workerName,
        device,
        log,
        signal: closing.signal,
      });
    } catch (error) {
      giveRoom(room);
      if (!closing.signal.aborted)
        crashed(seat, error instanceof Error ? error.message : String(error), [], true);
      throw error;
    }
    const readyMs = Date.now();
    log("INFO", `Loaded in ${readyMs - sinceMs} ms.`, { endpoint, version, pid: engine.pid });
    seat.engine = engine;
    seat.lastUsedMs = readyMs;
    void engine.exited.then((how) => {
      const unasked = seat.engine === engine;
      if (unasked) delete seat.engine;
      giveRoom(room);
      if (!unasked || closing.signal.aborted) return;
      log("ERROR", `The engine ${how}`, { endpoint, version, pid: engine.pid });
      const running = [...seat.running].map(({ requestId }) => requestId);
      crashed(seat, `The engine ${how}`, running, Date.now() - readyMs < EARLY_DEATH_MS);
    });
    holdsMore(seat, engine.memoryMiB, room);
    return engine;
  };

  /** What an engine really holds may be more than its manifest says: the budget goes by what is true. */
  const holdsMore = (seat: Seat, memoryMiB: number, room: symbol) => {
    if (memoryMiB <= seat.needMiB) return;
    const { endpoint, version } = seat.model;
    log("WARN", `Holds ${memoryMiB} MiB, and the manifest says memoryMiB: ${seat.needMiB}; mend it there.`, {
      endpoint,
      version,
    });
    seat.needMiB = memoryMiB;
    held.set(room, memoryMiB);
    const over = leaversFor(0, freeMiB(), idleBeside(seat)) ?? idleBeside(seat);
    for (const other of over) void evict(other);
  };

  const engineOf = (seat: Seat): Promise<EngineProcess> => {
    if (seat.engine) return Promise.resolve(seat.engine);
    if (!seat.loading) {
      seat.loading = start(seat).finally(() => {
        delete seat.loading;
        changed();
      });
      changed();
    }
    return seat.loading;
  };

  /**
   * Takes a slot and an engine, loading one first when none is warm; gives the slot back when the work has
   * ended.
   */
  const withEngine = async <T>(
    model: Named,
    requestId: string,
    signal: AbortSignal,
    work: (engine: EngineProcess, stop: AbortSignal) => Promise<T>,
  ): Promise<T> => {
    const seat = seatOf(model);
    const stop = AbortSignal.any([signal, closing.signal]);
    const run = { requestId };
    let release: (() => void) | undefined;
    try {
      release = await seat.slots.acquire(stop);
      // An engine that is started for a seat that was dropped would be nobody's, and never end.
      if (seats.get(taskQueueOf(model)) !== seat)
        throw new RunHandedOver("The model's version is gone from this worker.");
      refuseOut(seat);
      const engine = seat.engine ?? (await unlessAborted(engineOf(seat), stop));
      seat.running.add(run);
      const result = await work(engine, stop);
      seat.crashes.finished();
      return result;
    } catch (error) {
      if (signal.aborted) throw new TemperaError("client_cancelled");
      if (closing.signal.aborted) throw new RunHandedOver("The GPU worker is going away.");
      if (isOwnAnswer(error)) seat.crashes.finished();
      throw error;
    } finally {
      seat.running.delete(run);
      seat.lastUsedMs = Date.now();
      release?.();
      changed();
    }
  };

  return {
    run: (run, listener, signal) =>
      withEngine(run, run.requestId, signal, (engine, stop) => engine.run(run, listener, stop)),

    hold: (session, inputs, listener, signal) =>
      withEngine(session, session.sessionId, signal, (engine, stop) =>
        engine.hold(session, inputs, listener, stop),
      ),

    admit: (model) => void seatOf(model),

    async warm(model) {
      await engineOf(seatOf(model));
    },

    async drop({ endpoint, version }) {
      const place = taskQueueOf({ endpoint, version });
      const seat = seats.get(place);
      if (!seat) return;
      seats.delete(place);
      await seat.loading?.catch(() => {});
      await evict(seat, "Unloaded: its version is gone");
      changed();
    },

    list: () =>
      [...seats.values()].map(({ model, slots, engine, loading, crashes, needMiB, pinned, lastUsedMs }) => ({
        endpoint: model.endpoint,
        version: model.version,
        state: crashes.out
          ? ("out" as const)
          : engine
            ? ("ready" as const)
            : loading
              ? ("loading" as const)
              : ("stopped" as const),
        ...(engine && { pid: engine.pid, memoryMiB: engine.memoryMiB }),
        running: slots.running,
        waiting: slots.waiting,
        failures: crashes.count,
        ...(crashes.lastFailure !== undefined && { lastFailure: crashes.lastFailure }),
        needMiB,
        pinned,
        lastUsedMs,
      })),

    reset(model) {
      const seat = seatOf(model);
      if (seat.crashes.out)
        log("INFO", "Back in rotation.", { endpoint: model.endpoint, version: model.version });
      seat.crashes.reset();
      changed();
    },

    onChange(listener) {
      const own = () => listener();
      listeners.add(own);
      return () => void listeners.delete(own);
    },

    async [Symbol.asyncDispose]() {
      closing.abort(new RunHandedOver("The GPU worker is going away."));
      const all = [...seats.values()];
      await Promise.allSettled(all.map((seat) => seat.loading));
      await Promise.all([...all.map((seat) => seat.engine?.stop()), ...ending]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** The model's own word on a request: the engine was there to say it. */
const isOwnAnswer = (error: unknown): boolean =>
  isTemperaError(error) && (error.code === "runner_server_error" || CATALOGUE[error.code].kind === "model");

/**
 * Rejects with the signal's reason as soon as it aborts; the promise itself goes on for the others who wait
 * for it.
 */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => {}); // Nobody may wait for it any more, and a rejection that nobody sees ends the process.
    return Promise.reject(signal.reason);
  }
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
