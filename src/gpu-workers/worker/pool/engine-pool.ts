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
 * - any → unhealthy: the crash was one too many for the circuit breaker. A trial that succeeds and `reset`
 *   lead back.
 *
 * Memory is reserved from before a process starts until after it has exited.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { LRUCache } from "lru-cache";
import type { Release } from "../../../core/concurrency/semaphore.ts";
import { sleep } from "../../../core/concurrency/sleep.ts";
import { withAbort } from "../../../core/concurrency/with-abort.ts";
import { crashDigest, type Treatment } from "../../../core/engines/crash.ts";
import {
  type EngineListener,
  type EngineResult,
  type EngineRun,
  type EngineSession,
  type Engines,
  RunHandedOver,
  RunTurnedAway,
  type SessionEngines,
  type SessionListener,
} from "../../../core/engines/engine.ts";
import { CATALOGUE, type ErrorCode } from "../../../core/errors/catalogue.ts";
import { isTemperaError, TemperaError } from "../../../core/errors/tempera-error.ts";
import { LIMITS } from "../../../core/limits.ts";
import { type ModelVersion, taskQueueOf } from "../../../core/models/model.ts";
import type { Frame } from "../../../core/requests/session.ts";
import { type Memory, SOCKET_PATH_BYTES_MAX } from "../../contract/engine-protocol.ts";
import type { Cage } from "../cage/cage.ts";
import { type EngineLog, type EngineProcess, startEngine } from "../process/engine-process.ts";
import type { EngineProgram } from "../process/engine-programs.ts";
import type { CountedCrash } from "./circuit-breaker.ts";
import { CrashLedger } from "./crash-ledger.ts";
import { DeviceMemory, type MemoryReservation } from "./device-memory.ts";
import type { Leaving, Occupant } from "./engine-occupants.ts";
import { evictionCandidates } from "./eviction.ts";
import { PoolEntry, type PoolStatus } from "./pool-entry.ts";

export type { PoolStatus };

type VersionName = Pick<ModelVersion, "endpoint" | "version">;

/** Whoever asks for an engine: an attempt of a request or of a session. */
type Caller = Omit<Occupant, "begunMs"> & { attempt: number };

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
  /** Cages of the engines that are isolated in another way, by their name; `undefined`: not at all. */
  cages?: ReadonlyMap<string, Cage | undefined>;
  /** Requests that were on crashed engines. @default this pool remembers by itself, and limits no owner */
  crashes?: CrashLedger;
  /** Pause before an unhealthy model is tried again. @default 30 s */
  trialDelayMs?: number;
}

/** An engine that dies sooner than this after its load crashed early: the next start is delayed. */
const EARLY_CRASH_MS = 1000;

/**
 * Requests that are remembered because the memory did not suffice for them. Those that never come back are
 * forgotten when newer ones come.
 */
const OUT_OF_MEMORY_KEPT_MAX = 1000;

/** Codes of the kind `request` that are a model's own answer. */
const ANSWERS: ReadonlySet<ErrorCode> = new Set(["runner_server_error", "runner_out_of_memory"]);

export class EnginePool implements Engines, SessionEngines, AsyncDisposable {
  readonly #options: EnginePoolOptions & { device: string };
  readonly #crashes: CrashLedger;
  readonly #memory: DeviceMemory;
  readonly #entries = new Map<string, PoolEntry>();
  readonly #closing = new AbortController();
  /** Ends of evicted engines that have not exited yet. */
  readonly #stopping = new Set<Promise<void>>();
  readonly #listeners = new Set<() => void>();
  /** Requests that the memory did not suffice for, with how often each was left to other workers since. */
  readonly #outOfMemory = new LRUCache<string, number>({ max: OUT_OF_MEMORY_KEPT_MAX });
  #sockets = 0;

  constructor(options: EnginePoolOptions) {
    this.#options = { ...options, device: options.device ?? "cpu" };
    this.#crashes =
      options.crashes ?? new CrashLedger({ ofOwnerMax: Number.POSITIVE_INFINITY, warn: () => {} });
    this.#memory = new DeviceMemory(options.budgetMiB ?? Number.POSITIVE_INFINITY);
  }

  run(run: EngineRun, listener: EngineListener, signal: AbortSignal): Promise<EngineResult> {
    const { requestId, ownerId, attempt } = run;
    const caller = { requestId, ownerId, attempt, digest: once(() => crashDigest(run)), isSession: false };
    return this.#withEngine(run, caller, signal, (engine, stop) => engine.run(run, listener, stop));
  }

  hold(
    session: EngineSession,
    inputs: AsyncIterable<Frame>,
    listener: SessionListener,
    signal: AbortSignal,
  ): Promise<void> {
    const { sessionId, ownerId, attempt } = session;
    // Its inputs are not known before they come: it is recognised by its id when it comes again.
    const caller = { requestId: sessionId, ownerId, attempt, digest: () => sessionId, isSession: true };
    return this.#withEngine(session, caller, signal, (engine, stop) =>
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
    clearTimeout(entry.trialTimer);
    await entry.loading?.catch(() => {});
    await this.#evict(entry, "Unloaded because its version is no longer served");
    this.#notify();
  }

  list(): PoolStatus[] {
    return [...this.#entries.values()].map((entry) => entry.status());
  }

  /**
   * Makes an unhealthy model version available again and forgets its crashes. What runs now counts against
   * nobody when it crashes.
   */
  reset(model: VersionName): void {
    const entry = this.#entryOf(model);
    if (entry.breaker.isOpen) this.#options.log("INFO", "Healthy again after a reset.", nameOf(entry.model));
    entry.breaker.reset();
    entry.resetMs = performance.now();
    clearTimeout(entry.trialTimer);
    this.#crashes.forget(nameOf(entry.model));
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
    for (const { trialTimer } of entries) clearTimeout(trialTimer);
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
    const entry = new PoolEntry(model, { trialDelayMs: this.#options.trialDelayMs });
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
    caller: Caller,
    signal: AbortSignal,
    work: (engine: EngineProcess, stop: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const entry = this.#entryOf(model);
    const stop = AbortSignal.any([signal, this.#closing.signal]);
    const occupant: Occupant = { ...caller, begunMs: performance.now() };
    let release: Release | undefined;
    let how: Leaving = "ended";
    try {
      // Another worker may have recorded the crash of the attempt before.
      if (caller.attempt > 1) await withAbort(this.#crashes.refresh(), stop);
      this.#leaveToOthers(caller);
      this.#refuseCulprit(entry, occupant);
      release = await this.#acquire(entry, occupant, stop);
      const engine = entry.engine ?? (await withAbort(this.#engineOf(entry), stop));
      occupant.begunMs = performance.now();
      entry.occupants.enter(occupant);
      const result = await work(engine, stop);
      this.#recordSuccess(entry, occupant);
      return result;
    } catch (error) {
      how = leavingOf(error, signal);
      if (signal.aborted) throw new TemperaError("client_cancelled");
      if (this.#closing.signal.aborted) throw new RunHandedOver("The GPU worker is shutting down.");
      if (isAnswerOfModel(error)) this.#recordSuccess(entry, occupant);
      if (isTemperaError(error) && error.code === "runner_out_of_memory") this.#noteTooLarge(entry, caller);
      // The next attempt, on whatever worker, finds the record of this one.
      await entry.recording;
      throw error;
    } finally {
      entry.occupants.leave(occupant, how);
      if (how === "cancelled") void this.#settle(entry);
      entry.lastUsedMs = Date.now();
      release?.();
      this.#notify();
    }
  }

  /**
   * Takes a slot, waits until the run may share the engine with those on it, and begins a trial when the
   * model is unhealthy and due for one.
   */
  async #acquire(entry: PoolEntry, occupant: Occupant, stop: AbortSignal): Promise<Release> {
    const releaseSlot = await entry.slots.acquire(stop);
    let leave: Release = () => {};
    try {
      // An engine started for a dropped entry would belong to nobody and never be ended.
      if (this.#entries.get(taskQueueOf(entry.model)) !== entry)
        throw new RunHandedOver("This GPU worker no longer serves this version of the model.");
      const { alone, apart } = this.#refuseCulprit(entry, occupant);
      const { ownerId, isSession } = occupant;
      if (!isSession) leave = await entry.sharing.enter({ ownerId, alone, apart }, stop);
      if (alone || apart) await withAbort(this.#settle(entry), stop);
      const isTrial = entry.breaker.tryBegin();
      if (!isTrial) refuseUnhealthy(entry, this.#options.workerName);
      return () => {
        if (isTrial) entry.breaker.endTrial();
        leave();
        releaseSlot();
      };
    } catch (error) {
      leave();
      releaseSlot();
      throw error;
    }
  }

  /** Turns a run away that this device had too little memory for: another worker may have more. */
  #leaveToOthers({ requestId }: Caller): void {
    const times = this.#outOfMemory.get(requestId);
    if (times === undefined) return;
    if (times >= LIMITS.turnedAwayForMemoryMax) {
      this.#outOfMemory.delete(requestId);
      return;
    }
    this.#outOfMemory.set(requestId, times + 1);
    throw new RunTurnedAway("This GPU worker had too little memory for the request, and others go first.");
  }

  /** Remembers a run that the memory did not suffice for, and makes room for its next attempt. */
  #noteTooLarge(entry: PoolEntry, { requestId }: Caller): void {
    this.#outOfMemory.set(requestId, 0);
    for (const other of this.#idleBeside(entry))
      if (!other.pinned)
        void this.#evict(other, `Unloaded because ${entry.model.endpoint} ran out of memory`);
  }

  /** Waits until the engine has ended the runs that their callers have cancelled. */
  async #settle(entry: PoolEntry): Promise<void> {
    await entry.occupants.settle(async () => entry.engine?.inHand());
  }

  /** Returns how to treat a request by its owner's crashes. Throws when they exclude it. */
  #refuseCulprit({ model }: PoolEntry, occupant: Occupant): Treatment {
    const treatment = this.#crashes.treatmentOf(model, occupant);
    const { refusal } = treatment;
    if (!refusal) return treatment;
    throw new TemperaError(refusal.code, refusal.message, {
      ...(refusal.code === "engine_crash_limit" && { retryAfterMs: refusal.forMs }),
    });
  }

  #recordSuccess(entry: PoolEntry, occupant: Occupant): void {
    if (entry.breaker.isOpen)
      this.#options.log("INFO", "Healthy again: a request came to its end.", nameOf(entry.model));
    entry.breaker.recordSuccess();
    this.#crashes.clear(nameOf(entry.model), occupant);
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
    if (!entry.breaker.isTrying) refuseUnhealthy(entry, workerName);
    const memory = await this.#memory.reserve(entry.needMiB, () => this.#makeRoom(entry), signal);
    const engine = await this.#start(entry, program, socket, memory);
    const readyMs = performance.now();
    entry.engine = engine;
    entry.occupants.begin();
    entry.lastUsedMs = Date.now();
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
    const { workerName, device, cages, log } = this.#options;
    const { model } = entry;
    const cage = cages?.has(model.engine) ? cages.get(model.engine) : this.#options.cage;
    const startedMs = Date.now();
    const begunMs = performance.now();
    try {
      const { signal } = this.#closing;
      // The peak of a run is known after it, and may be above the need at the load.
      const onMemory = ({ peakMib = 0 }: Memory) => this.#correctNeed(entry, peakMib, memory);
      const start = { model, program, socket, workerName, device, cage, log, onMemory, signal };
      const engine = await startEngine(start);
      log("INFO", `Loaded in ${Date.now() - startedMs} ms.`, { ...nameOf(model), pid: engine.pid });
      return engine;
    } catch (error) {
      memory.release();
      this.#notify();
      if (!this.#closing.signal.aborted && begunMs >= entry.resetMs)
        this.#recordCrash(entry, {
          reason: error instanceof Error ? error.message : String(error),
          causes: "engine",
          isEarly: true,
        });
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
    const { deviceFault } = engine;
    const all = deviceFault?.ofDevice ? [] : entry.occupants.atCrash(engine);
    // What began before an operator's reset does not undo it.
    const suspects = all.filter(({ begunMs }) => begunMs >= entry.resetMs);
    const blamed = suspects.filter(({ company }) => company !== "shared");
    this.#recordCrash(entry, {
      reason: deviceFault?.message ?? `The engine ${reason}`,
      causes: all.length === 0 ? "engine" : [...new Set(blamed.map(({ ownerId }) => ownerId))],
      isEarly: performance.now() - readyMs < EARLY_CRASH_MS,
    });
    entry.recording = this.#crashes.record(nameOf(entry.model), suspects);
  }

  #recordCrash(entry: PoolEntry, crash: CountedCrash): void {
    const { breaker, model } = entry;
    const wasOut = breaker.isOpen && !breaker.isTrying;
    breaker.recordCrash(crash);
    if (breaker.isOpen && !wasOut) {
      const seconds = Math.ceil(breaker.trialInMs / 1000);
      this.#options.log(
        "ERROR",
        `Unhealthy after ${breaker.crashes} crashes in a row of different causes. One request tries it ` +
          `again in ${seconds} s; or fix the cause, then run \`tempera engines reset ${model.endpoint}\`.`,
        nameOf(model),
      );
      this.#announceTrial(entry);
    }
    this.#notify();
  }

  /** Notifies the listeners when the next trial may begin. A timer may fire before its time by the clock. */
  #announceTrial(entry: PoolEntry): void {
    clearTimeout(entry.trialTimer);
    const { trialInMs } = entry.breaker;
    if (trialInMs === 0) this.#notify();
    else entry.trialTimer = setTimeout(() => this.#announceTrial(entry), Math.ceil(trialInMs)).unref();
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
   * Corrects the need of an entry whose engine holds more than its manifest declares, after its load or
   * during a run, and evicts idle engines when the budget is exceeded by that.
   */
  #correctNeed(entry: PoolEntry, memoryMiB: number, memory: MemoryReservation): void {
    if (Math.min(memoryMiB, this.#memory.budgetMiB) <= entry.needMiB) return;
    this.#options.log(
      "WARN",
      `The engine holds ${memoryMiB} MiB, and the manifest declares memoryMiB: ${entry.needMiB}. ` +
        "Correct the manifest.",
      nameOf(entry.model),
    );
    // One that needs more than the whole budget is loaded when nothing else is.
    entry.needMiB = Math.min(memoryMiB, this.#memory.budgetMiB);
    memory.resize(entry.needMiB);
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
      `It is tried again by itself; or fix the cause, then run: tempera engines reset ${model.endpoint}`,
  );
}

function programOf(programs: Record<string, EngineProgram>, model: ModelVersion): EngineProgram {
  const program = Object.hasOwn(programs, model.engine) ? programs[model.engine] : undefined;
  if (program) return program;
  throw unavailable(
    `There is no engine "${model.engine}", which the manifest of ${model.endpoint} ${model.version} names; ` +
      "add it to engines.programs of the configuration of this GPU worker.",
  );
}

function socketPath(folder: string, index: number): string {
  // Each engine has a folder of its own, since an isolated one may write in it.
  const path = join(folder, String(index), `${process.pid}-${index}.sock`);
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path;
  throw unavailable(`${path} is too long for a Unix socket: choose a shorter data folder.`);
}

function leavingOf(error: unknown, signal: AbortSignal): Leaving {
  if (signal.aborted) return "cancelled";
  return isTemperaError(error) && error.code === "runner_disconnected" ? "disconnected" : "ended";
}

/** The error is the model's own answer to a request, so the engine was alive to give it. */
function isAnswerOfModel(error: unknown): boolean {
  return isTemperaError(error) && (ANSWERS.has(error.code) || CATALOGUE[error.code].kind === "model");
}

/** Computes a value when it is first asked for. */
function once<T>(compute: () => T): () => T {
  let computed: { value: T } | undefined;
  return () => {
    computed ??= { value: compute() };
    return computed.value;
  };
}
