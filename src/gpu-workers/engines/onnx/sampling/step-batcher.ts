/**
 * The step batcher: every denoising of a loaded model goes through it, so that those of one shape that are in
 * flight together share each pass of the network, whatever step each is at. They join and leave between two
 * steps.
 *
 * One thing runs at a time, since onnxruntime-node blocks the thread. The event loop runs between two steps,
 * so that a cancel that has arrived on the socket is seen, and health and progress get through. Other work of
 * the model (encoding prompts, decoding results) is done there too, for so long that neither holds up the
 * other much.
 *
 * The states of a denoising:
 *
 * ```
 * ready ──pass──▶ stepped ──onStep settled──▶ ready … ──last step──▶ ended
 *   └──────────────── aborted, or an error on it alone ──────────────▶ ended
 * ```
 */
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { onAbort } from "../../../../core/concurrency/with-abort.ts";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { allFinite } from "./finite.ts";
import { eulerStep } from "./flow-match-euler.ts";

/** One denoising as the network sees it at one step. */
export interface StepItem<Condition> {
  latents: Float32Array;
  /** The noise level, 0..1. */
  sigma: number;
  condition: Condition;
}

export interface Denoising<Condition> {
  /**
   * Denoisings of one key may share a step: their latents have one shape, and their conditions go through one
   * network.
   */
  shapeKey: string;
  /** Noise at σ = 1; changed in place, and the finished latents afterwards. */
  latents: Float32Array;
  /** `steps + 1` noise levels, the last one 0. */
  sigmas: Float32Array;
  condition: Condition;
  /** Steps that are done already: `latents` are the state after them. */
  from?: number;
  /**
   * Called after each step with the number of steps done, the velocity that was applied (valid until the
   * first `await`) and the noise level that was reached. The denoising waits until the returned promise has
   * settled; others go on.
   */
  onStep: (done: number, velocity: Float32Array, sigma: number) => void | Promise<void>;
  signal: AbortSignal;
}

export interface StepNetwork<Condition> {
  /**
   * Predicts the (guided) velocity of each item, in order; all are of one shape key. May block the event
   * loop. The result for an item must not depend on the others.
   */
  predict: (items: readonly StepItem<Condition>[]) => Promise<readonly Float32Array[]>;
  /** The most items of one pass, as the manifest limits it. A profile may find fewer worthwhile. */
  itemsMax: number;
}

/**
 * The time that the model's other work may take between two steps, in milliseconds; the piece at hand is
 * finished. Prompts that came together are all encoded before the next pass, so that they begin together; the
 * fuller a pass is, the less each item costs.
 */
const BETWEEN_MS = 50;

/** A denoising that has begun. */
interface ActiveDenoising<Condition> extends Denoising<Condition> {
  done: number;
  ended: boolean;
  resolve: () => void;
  reject: (reason: unknown) => void;
}

type Work = () => Promise<void>;

export class StepBatcher<Condition> {
  /** The most items of one pass. */
  itemsMax: number;
  readonly #predict: StepNetwork<Condition>["predict"];
  /**
   * Denoisings that are ready for their next step, by shape key. The first shape is next; within a shape, the
   * first denoising is.
   */
  readonly #ready = new Map<string, ActiveDenoising<Condition>[]>();
  /**
   * The most items of one pass of a shape, for shapes of which a pass failed as a whole and succeeded item by
   * item: it did not fit in memory.
   */
  readonly #itemsThatFit = new Map<string, number>();
  readonly #betweenWork: Work[] = [];
  readonly #idleWork: Work[] = [];
  #inFlight = 0;
  #isRunning = false;

  constructor({ predict, itemsMax }: StepNetwork<Condition>) {
    this.#predict = predict;
    this.itemsMax = itemsMax;
  }

  /** Denoisings that have begun and not ended. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /**
   * Resolves when all steps are done. Rejects with the signal's reason as soon as it is aborted, with the
   * error that the network threw on this item alone, or with `runner_server_error` when its velocity has
   * another size or is not finite. Other denoisings are not affected.
   */
  denoise(denoising: Denoising<Condition>): Promise<void> {
    return new Promise((resolve, reject) => {
      const { signal } = denoising;
      if (signal.aborted) return reject(signal.reason);
      const end = (settle: () => void): void => {
        if (active.ended) return;
        active.ended = true;
        this.#inFlight--;
        listening[Symbol.dispose]();
        settle();
      };
      const active: ActiveDenoising<Condition> = {
        ...denoising,
        done: denoising.from ?? 0,
        ended: false,
        resolve: () => end(resolve),
        reject: (reason) => end(() => reject(reason)),
      };
      this.#inFlight++;
      const listening = onAbort(signal, () => active.reject(signal.reason));
      this.#continue(active);
    });
  }

  /** Does a piece of the model's other work between two steps, in the order of the calls. */
  between<T>(work: () => Promise<T>): Promise<T> {
    return this.#enqueueWork(this.#betweenWork, work);
  }

  /** Does a piece of work when nothing else waits. */
  whenIdle<T>(work: () => Promise<T>): Promise<T> {
    return this.#enqueueWork(this.#idleWork, work);
  }

  #enqueueWork<T>(queue: Work[], work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      queue.push(() => work().then(resolve, reject));
      this.#start();
    });
  }

  #enqueueStep(denoising: ActiveDenoising<Condition>): void {
    const waiting = this.#ready.get(denoising.shapeKey);
    if (waiting) waiting.push(denoising);
    else this.#ready.set(denoising.shapeKey, [denoising]);
    this.#start();
  }

  /**
   * Starts the loop unless it runs: other work, then one step or one piece of idle work, until none is left.
   */
  #start(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    void (async () => {
      while (this.#betweenWork.length + this.#ready.size + this.#idleWork.length > 0) {
        await yieldToEventLoop();
        await this.#doBetweenWork();
        if (this.#ready.size > 0) await this.#step();
        else if (this.#betweenWork.length === 0) await this.#idleWork.shift()?.();
      }
      this.#isRunning = false;
    })();
  }

  async #doBetweenWork(): Promise<void> {
    const untilMs = performance.now() + BETWEEN_MS;
    while (this.#betweenWork.length > 0) {
      await this.#betweenWork.shift()?.();
      await yieldToEventLoop();
      if (performance.now() > untilMs) break;
    }
  }

  /** Makes one pass for the first shape that has a denoising left. */
  async #step(): Promise<void> {
    for (const [shapeKey, waiting] of this.#ready) {
      const rest = waiting.filter(({ ended }) => !ended);
      const fit = this.#itemsThatFit.get(shapeKey) ?? Number.POSITIVE_INFINITY;
      const batch = rest.splice(0, Math.min(this.itemsMax, fit));
      // Those that still wait go behind the other shapes.
      this.#ready.delete(shapeKey);
      if (rest.length > 0) this.#ready.set(shapeKey, rest);
      if (batch.length === 0) continue;
      const velocities = await this.#predictEach(batch);
      batch.forEach((denoising, i) => {
        this.#advance(denoising, velocities[i]);
      });
      return;
    }
  }

  /** Gives, for each denoising, its velocity or the error that it failed with. */
  async #predictEach(batch: readonly ActiveDenoising<Condition>[]): Promise<unknown[]> {
    try {
      const items = batch.map(({ latents, sigmas, done, condition }) => ({
        latents,
        sigma: sigmas[done] ?? 0,
        condition,
      }));
      return [...(await this.#predict(items))];
    } catch (error) {
      if (batch.length === 1) return [error ?? new Error("The network failed without a reason.")];
      return this.#predictApart(batch);
    }
  }

  /** Predicts each item of a failed pass alone: the one at fault fails, the others go on. */
  async #predictApart(batch: readonly ActiveDenoising<Condition>[]): Promise<unknown[]> {
    const velocities: unknown[] = [];
    for (const denoising of batch) {
      await yieldToEventLoop();
      velocities.push(denoising.ended ? undefined : (await this.#predictEach([denoising]))[0]);
    }
    const shapeKey = batch[0]?.shapeKey ?? "";
    if (velocities.every((velocity) => velocity instanceof Float32Array))
      this.#itemsThatFit.set(shapeKey, Math.floor(batch.length / 2));
    return velocities;
  }

  #advance(denoising: ActiveDenoising<Condition>, velocity: unknown): void {
    if (denoising.ended) return;
    try {
      const { latents, sigmas, done } = denoising;
      const [sigma, next] = [sigmas[done] ?? 0, sigmas[done + 1] ?? 0];
      const usable = usableVelocity(velocity, latents.length, `step ${done + 1} of ${sigmas.length - 1}`);
      eulerStep(latents, usable, sigma, next);
      denoising.done++;
      const observed = denoising.onStep(denoising.done, usable, next);
      if (observed) observed.then(() => this.#continue(denoising), denoising.reject);
      else this.#continue(denoising);
    } catch (error) {
      denoising.reject(error);
    }
  }

  #continue(denoising: ActiveDenoising<Condition>): void {
    if (denoising.ended) return;
    if (denoising.done + 1 >= denoising.sigmas.length) denoising.resolve();
    else this.#enqueueStep(denoising);
  }
}

/** @throws the error that the network threw on this item, or the reason why its velocity cannot be used */
function usableVelocity(velocity: unknown, count: number, step: string): Float32Array {
  if (!(velocity instanceof Float32Array))
    throw velocity ?? serverError(`The network gave no velocity in ${step}.`);
  if (velocity.length !== count) {
    throw serverError(
      `The network gave ${velocity.length} numbers for ${count} latents: it does not fit this model.`,
    );
  }
  if (!allFinite(velocity)) throw serverError(`The network gave numbers that are not finite in ${step}.`);
  return velocity;
}

function serverError(message: string): TemperaError {
  return new TemperaError("runner_server_error", message);
}
