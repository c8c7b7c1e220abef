/**
 * The pool of engines of one GPU worker: one process for each loaded model version, started on demand and
 * kept warm within the device's memory.
 *
 * The states of a model version are documented at `PoolEntry`. The pool moves entries between them:
 *
 * - stopped → loading: a run takes a slot and finds no engine, or `warm` is called. The load waits for the
 *   delay of the circuit breaker, then for memory: idle engines are evicted, else it waits for a change.
 * - loading → ready: the process has loaded the model. A process that cannot load it is a crash.
 * - ready → stopped: the engine was evicted, dropped, or crashed.
 * - any → unhealthy: the crash was one too many for the circuit breaker. `reset` leads back to stopped.
 *
 * Memory is reserved from before a process starts until after it has exited.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Release } from "../../../core/concurrency/semaphore.ts";
import { sleep } from "../../../core/concurrency/sleep.ts";
import { withAbort } from "../../../core/concurrency/with-abort.ts";
import {
  type EngineListener,
  type EngineResult,
  type EngineRun,
  type EngineSession,
  type Engines,
  RunHandedOver,
  type SessionEngines,
  type SessionListener,
} from "../../../core/engines/engine.ts";
import { CATALOGUE } from "../../../core/errors/catalogue.ts";
import { isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";
import type { Frame } from "../../../core/requests/session.ts";
import { SOCKET_PATH_BYTES_MAX } from "../../contract/engine-protocol.ts";
import type { Cage } from "../cage/cage.ts";
import { type EngineLog, type EngineProcess, startEngine } from "../process/engine-process.ts";
import type { EngineProgram } from "../process/engine-programs.ts";
import { DeviceMemory, type MemoryReservation } from "./device-memory.ts";
import { evictionCandidates } from "./eviction.ts";
import { PoolEntry, type PoolStatus } from "./pool-entry.ts";

export type { PoolStatus };

type VersionName = Pick<ModelVersion, "endpoint" | "version">;

export interface EnginePoolOptions {
  findModel: (endpoint: string, version: string) => ModelVersion | undefined;
  /** Maps `engine:` of a manifest to the program that serves it. */
  programs: Record<string, EngineProgram>;
  /**
   * Folder of the sockets. It belongs to this pool alone, and its path must be short: the path of a Unix
   * socket holds about 100 bytes.
   */
  folder: string;
  /** Reported by the `started` event of every run. */
  workerName: string;
  log: EngineLog;
  /** Device handed to every engine: `cpu`, `cuda:0`, `tensorrt:0`. @default "cpu" */
  device?: string;
  /** Memory that all engines together may hold. @default unbounded */
  budgetMiB?: number;
  /** Isolates the engines. @default isolation is off */
  cage?: Cage | undefined;
}

/** An engine that dies sooner than this after its load crashed early: the next start is delayed. */
const EARLY_CRASH_MS = 1000;

export class EnginePool implements Engines, SessionEngines, AsyncDisposable {
  readonly #options: EnginePoolOptions & { device: string };
  readonly #memory: DeviceMemory;
  readonly #entries = new Map<string, PoolEntry>();
  readonly #closing = new AbortController();
  /** Ends of evicted engines that have not exited yet. */
  readonly #stopping = new Set<Promise<void>>();
  readonly #listeners = new Set<() => void>();
  #sockets = 0;

  constructor(options: EnginePoolOptions) {
    this.#options = { ...options, device: options.device ?? "cpu" };
    this.#memory = new DeviceMemory(options.budgetMiB ?? Number.POSITIVE_INFINITY);
  }

  run(run: EngineRun, listener: EngineListener, signal: AbortSignal): Promise<EngineResult> {
    return this.#withEngine(run, run.requestId, signal, (engine, stop) => engine.run(run, listener, stop));
  }

  hold(
    session: EngineSession,
    inputs: AsyncIterable<Frame>,
    listener: SessionListener,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#withEngine(session, session.sessionId, signal, (engine, stop) =>
      engine.hold(session, inputs, listener, stop),
    );
  }

  /**
   * Adds a model version to the list. Throws `runner_scheduling_failure` when it is unknown or larger than
   * the whole budget.
   */
  admit(model: VersionName): void {
    this.#entryOf(model);
  }

  /** Loads a model version before it is needed. Rejects with `runner_scheduling_failure`. */
  async warm(model: VersionName): Promise<void> {
    await this.#engineOf(this.#entryOf(model));
  }

  /**
   * Ends a model version's engine and forgets it. What still runs on it fails as if the engine had crashed.
   */
  async drop(model: VersionName): Promise<void> {
    const key = taskQueueOf(model);
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    await entry.loading?.catch(() => {});
    await this.#evict(entry, "Unloaded because its version is no longer served");
    this.#notify();
  }

  list(): PoolStatus[] {
    return [...this.#entries.values()].map((entry) => entry.status());
  }

  /** Makes an unhealthy model version available again and forgets its crashes. */
  reset(model: VersionName): void {
    const entry = this.#entryOf(model);
    if (entry.breaker.isOpen) this.#options.log("INFO", "Healthy again after a reset.", nameOf(entry.model));
    entry.breaker.reset();
    this.#notify();
  }

  /** Calls `listener` after each change of `list`, except for memory. Returns how to unsubscribe. */
  onChange(listener: () => void): () => void {
    const own = () => listener();
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new RunHandedOver("The GPU worker is shutting down."));
    const entries = [...this.#entries.values()];
    await Promise.allSettled(entries.map(({ loading }) => loading));
    await Promise.all([...entries.map(({ engine }) => engine?.stop()), ...this.#stopping]);
    await rm(this.#options.folder, { recursive: true, force: true });
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #entryOf(name: VersionName): PoolEntry {
    const key = taskQueueOf(name);
    const known = this.#entries.get(key);
    if (known) return known;
    const model = this.#options.findModel(name.endpoint, name.version);
    if (!model)
      throw unavailable(`This GPU worker does not serve the model ${name.endpoint} ${name.version}.`);
    const entry = new PoolEntry(model);
    refuseTooLarge(entry, this.#memory.budgetMiB);
    this.#entries.set(key, entry);
    return entry;
  }

  /**
   * Takes a slot and an engine for `work`, starting an engine first when none is loaded. Releases the slot
   * when the work has ended.
   */
  async #withEngine<T>(
    model: VersionName,
    requestId: string,
    signal: AbortSignal,
    work: (engine: EngineProcess, stop: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const entry = this.#entryOf(model);
    const stop = AbortSignal.any([signal, this.#closing.signal]);
    const run = { requestId };
    let release: Release | undefined;
    try {
      release = await entry.slots.acquire(stop);
      // An engine started for a dropped entry would belong to nobody and never be ended.
      if (this.#entries.get(taskQueueOf(model)) !== entry)
        throw new RunHandedOver("This GPU worker no longer serves this version of the model.");
      refuseUnhealthy(entry, this.#options.workerName);
      const engine = entry.engine ?? (await withAbort(this.#engineOf(entry), stop));
      entry.running.add(run);
      const result = await work(engine, stop);
      entry.breaker.recordSuccess();
      return result;
    } catch (error) {
      if (signal.aborted) throw new TemperaError("client_cancelled");
      if (this.#closing.signal.aborted) throw new RunHandedOver("The GPU worker is shutting down.");
      if (isAnswerOfModel(error)) entry.breaker.recordSuccess();
      throw error;
    } finally {
      entry.running.delete(run);
      entry.lastUsedMs = Date.now();
      release?.();
      this.#notify();
    }
  }

  #engineOf(entry: PoolEntry): Promise<EngineProcess> {
    if (entry.engine) return Promise.resolve(entry.engine);
    if (!entry.loading) {
      entry.loading = this.#load(entry).finally(() => {
        delete entry.loading;
        this.#notify();
      });
      this.#notify();
    }
    return entry.loading;
  }

  async #load(entry: PoolEntry): Promise<EngineProcess> {
    const { programs, folder, workerName } = this.#options;
    const { signal } = this.#closing;
    const program = programOf(programs, entry.model);
    const socket = socketPath(folder, this.#sockets++);
    const delayMs = entry.breaker.startAfterMs - performance.now();
    if (delayMs > 0) await sleep(delayMs, signal);
    refuseUnhealthy(entry, workerName);
    const memory = await this.#memory.reserve(entry.needMiB, () => this.#makeRoom(entry), signal);
    const engine = await this.#start(entry, program, socket, memory);
    const readyMs = Date.now();
    entry.engine = engine;
    entry.lastUsedMs = readyMs;
    void engine.exited.then((reason) => this.#onExit(entry, engine, memory, reason, readyMs));
    this.#correctNeed(entry, engine.memoryMiB, memory);
    return engine;
  }

  async #start(
    entry: PoolEntry,
    program: EngineProgram,
    socket: string,
    memory: MemoryReservation,
  ): Promise<EngineProcess> {
    const { workerName, device, cage, log } = this.#options;
    const { model } = entry;
    const startedMs = Date.now();
    try {
      const { signal } = this.#closing;
      const engine = await startEngine({ model, program, socket, workerName, device, cage, log, signal });
      log("INFO", `Loaded in ${Date.now() - startedMs} ms.`, { ...nameOf(model), pid: engine.pid });
      return engine;
    } catch (error) {
      memory.release();
      this.#notify();
      if (!this.#closing.signal.aborted)
        this.#recordCrash(entry, error instanceof Error ? error.message : String(error), [], true);
      throw error;
    }
  }

  /** Releases the memory of an engine that has exited, and records a crash unless the pool ended it. */
  #onExit(
    entry: PoolEntry,
    engine: EngineProcess,
    memory: MemoryReservation,
    reason: string,
    readyMs: number,
  ): void {
    const isCrash = entry.engine === engine;
    if (isCrash) delete entry.engine;
    memory.release();
    this.#notify();
    if (!isCrash || this.#closing.signal.aborted) return;
    this.#options.log("ERROR", `The engine ${reason}`, { ...nameOf(entry.model), pid: engine.pid });
    const running = [...entry.running].map(({ requestId }) => requestId);
    this.#recordCrash(entry, `The engine ${reason}`, running, Date.now() - readyMs < EARLY_CRASH_MS);
  }

  #recordCrash(entry: PoolEntry, reason: string, running: string[], isEarly: boolean): void {
    const wasOpen = entry.breaker.isOpen;
    entry.breaker.recordCrash(reason, running, isEarly);
    if (entry.breaker.isOpen && !wasOpen)
      this.#options.log(
        "ERROR",
        `Unhealthy after ${LIMITS.engineCrashesMax} crashes in a row. Fix the cause, then run ` +
          `\`tempera engines reset ${entry.model.endpoint}\`.`,
        nameOf(entry.model),
      );
    this.#notify();
  }

  #idleBeside(entry: PoolEntry): PoolEntry[] {
    return [...this.#entries.values()].filter((other) => other !== entry && other.isIdle);
  }

  /** Evicts idle engines when that makes enough room for the entry; else resolves at the next change. */
  async #makeRoom(entry: PoolEntry): Promise<void> {
    const { freeMiB } = this.#memory;
    const candidates = evictionCandidates(entry.needMiB, freeMiB, this.#idleBeside(entry));
    if (candidates) await Promise.all(candidates.map((candidate) => this.#evict(candidate)));
    else await this.#nextChange();
  }

  async #nextChange(): Promise<void> {
    let unsubscribe = (): void => {};
    const changed = new Promise<void>((resolve) => {
      unsubscribe = this.onChange(resolve);
    });
    try {
      await withAbort(changed, this.#closing.signal);
    } finally {
      unsubscribe();
    }
  }

  /** Ends an idle engine. Its memory is free once the process has exited, which is awaited. */
  #evict(entry: PoolEntry, reason = "Unloaded to make room for another model"): Promise<void> {
    const { engine, model, needMiB } = entry;
    if (!engine) return Promise.resolve();
    delete entry.engine;
    this.#options.log("INFO", `${reason}: ${needMiB} MiB.`, { ...nameOf(model), pid: engine.pid });
    const stopped: Promise<void> = engine.stop().finally(() => this.#stopping.delete(stopped));
    this.#stopping.add(stopped);
    return stopped;
  }

  /**
   * Corrects the need of an entry whose engine holds more than its manifest declares, and evicts idle engines
   * when the budget is exceeded by that.
   */
  #correctNeed(entry: PoolEntry, memoryMiB: number, memory: MemoryReservation): void {
    if (memoryMiB <= entry.needMiB) return;
    this.#options.log(
      "WARN",
      `The engine holds ${memoryMiB} MiB, and the manifest declares memoryMiB: ${entry.needMiB}. ` +
        "Correct the manifest.",
      nameOf(entry.model),
    );
    entry.needMiB = memoryMiB;
    memory.resize(memoryMiB);
    const idle = this.#idleBeside(entry);
    for (const other of evictionCandidates(0, this.#memory.freeMiB, idle) ?? idle) void this.#evict(other);
  }
}

function nameOf({ endpoint, version }: VersionName): VersionName {
  return { endpoint, version };
}

function unavailable(message: string): TemperaError {
  return new TemperaError("runner_scheduling_failure", message);
}

function refuseTooLarge({ model, needMiB }: PoolEntry, budgetMiB: number): void {
  if (needMiB <= budgetMiB) return;
  throw unavailable(
    `${model.endpoint} ${model.version} needs ${needMiB} MiB and this GPU worker has ${budgetMiB} MiB for ` +
      "engines: serve it on a larger device, or raise TEMPERA_WORKER_MEMORY_MIB.",
  );
}

function refuseUnhealthy({ model, breaker }: PoolEntry, workerName: string): void {
  if (!breaker.isOpen) return;
  throw unavailable(
    `${model.endpoint} ${model.version} is unhealthy on ${workerName} (${breaker.lastFailure}). ` +
      `Fix the cause, then run: tempera engines reset ${model.endpoint}`,
  );
}

function programOf(programs: Record<string, EngineProgram>, model: ModelVersion): EngineProgram {
  const program = Object.hasOwn(programs, model.engine) ? programs[model.engine] : undefined;
  if (program) return program;
  throw unavailable(
    `There is no engine "${model.engine}", which the manifest of ${model.endpoint} ${model.version} names.`,
  );
}

function socketPath(folder: string, index: number): string {
  // Each engine has a folder of its own, since an isolated one may write in it.
  const path = join(folder, String(index), `${process.pid}-${index}.sock`);
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
  throw unavailable(`${path} is too long for a Unix socket: choose a shorter data folder.`);
}

/** The error is the model's own answer to a request, so the engine was alive to give it. */
function isAnswerOfModel(error: unknown): boolean {
  return (
    isTemperaError(error) && (error.code === "runner_server_error" || CATALOGUE[error.code].kind === "model")
  );
}
