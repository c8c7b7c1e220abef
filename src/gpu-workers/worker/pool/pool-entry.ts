/**
 * One model version in the engine pool, from its admission until it is dropped. Engines come and go under it.
 *
 * Its state is derived, never stored:
 *
 * - **stopped**: no engine runs. The next run, or `EnginePool.warm`, starts one.
 * - **loading**: an engine is being started, or its start waits for memory or for the delay after an early
 *   crash. Every run that arrives shares this load.
 * - **ready**: an engine is loaded. It runs up to `slots` requests at once. An idle engine may be evicted,
 *   a crashed one ends by itself; both lead back to stopped.
 * - **unhealthy**: the circuit breaker is open. Runs are refused, except for one run at a time after each
 *   pause, until such a trial succeeds or an operator resets the entry.
 */
import { Semaphore } from "../../../core/concurrency/semaphore.ts";
import type { EngineStatus } from "../../../core/engines/engine-status.ts";
import type { ModelVersion } from "../../../core/models/model.ts";
import type { EngineProcess } from "../process/engine-process.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { EngineOccupants } from "./engine-occupants.ts";
import { EngineSharing } from "./engine-sharing.ts";

/** The status of one model version in the pool. */
export interface PoolStatus extends Omit<EngineStatus, "polled"> {
  /**
   * Memory that its engine needs: what the manifest declares, or what an engine held after its load or at the
   * peak of a run when that was more; at most the whole budget.
   */
  needMiB: number;
  pinned: boolean;
  lastUsedMs: number;
  /** It is unhealthy, and one request may try it now. */
  isOnTrial: boolean;
}

/** Time beyond two heartbeats after which an engine that hangs is gone. */
const HANG_MARGIN_MS = 1000;

export class PoolEntry {
  readonly model: ModelVersion;
  /** Bounds the runs on its engine; further runs wait here. */
  readonly slots: Semaphore;
  readonly breaker: CircuitBreaker;
  /** The runs and sessions that the engine is working on. */
  readonly occupants: EngineOccupants;
  /** Keeps the runs of suspects apart from others on the engine. */
  readonly sharing: EngineSharing;
  needMiB: number;
  lastUsedMs = 0;
  engine?: EngineProcess;
  /** The load in progress, shared by every run that waits for it. */
  loading?: Promise<EngineProcess>;
  /** The storing of the last crash. */
  recording: Promise<void> = Promise.resolve();
  /** When an operator last reset it: what began before counts no more. */
  resetMs = 0;
  /** Announces that the next trial may begin. */
  trialTimer: NodeJS.Timeout | undefined;

  /** @param trialDelayMs pause before an unhealthy model is tried again */
  constructor(model: ModelVersion, { trialDelayMs }: { trialDelayMs?: number | undefined } = {}) {
    this.model = model;
    this.breaker = new CircuitBreaker({ trialDelayMs });
    const hangMs = 2 * model.timeouts.heartbeatMs + HANG_MARGIN_MS;
    this.occupants = new EngineOccupants(hangMs, () => performance.now());
    this.slots = new Semaphore(model.slots);
    // A run that waits holds a slot of the worker; half of them stay for others.
    const waitingMax = Math.max(1, Math.floor(model.slots / 2));
    this.sharing = new EngineSharing(waitingMax, () => performance.now());
    this.needMiB = model.memoryMiB;
  }

  get pinned(): boolean {
    return this.model.pinned;
  }

  /** Its engine is loaded, and nobody uses it or waits for it: it can be evicted. */
  get isIdle(): boolean {
    return this.engine !== undefined && this.slots.running === 0 && this.slots.waiting === 0;
  }

  get state(): EngineStatus["state"] {
    if (this.breaker.isOpen) return "unhealthy";
    if (this.engine) return "ready";
    return this.loading ? "loading" : "stopped";
  }

  status(): PoolStatus {
    const { model, engine, slots, breaker, needMiB, pinned, lastUsedMs } = this;
    return {
      endpoint: model.endpoint,
      version: model.version,
      state: this.state,
      ...(engine && { pid: engine.pid, memoryMiB: engine.memoryMiB }),
      running: slots.running,
      waiting: slots.waiting,
      failures: breaker.crashes,
      ...(breaker.lastFailure !== undefined && { lastFailure: breaker.lastFailure }),
      needMiB,
      pinned,
      lastUsedMs,
      isOnTrial: breaker.isHalfOpen,
    };
  }
}
