/**
 * The step batcher: every denoising of a loaded model goes through it, so that those of one shape that are in
 * flight together share each pass of the network, whatever step each is at. They join and leave between two
 * steps.
 *
 * One thing runs at a time, since onnxruntime-node blocks the thread. Between two steps the event loop runs,
 * so that a cancel that has arrived on the socket is seen, and health and progress get through; and there is
 * room for other work of the model (encoding prompts, decoding results), for so long that neither holds up
 * the other much.
 */
import { setImmediate as yieldToEventLoop } from "node:timers/promises";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import { allFinite } from "./finite.ts";
import { eulerStep } from "./flow-match-euler.ts";

/** One denoising as the network sees it at one step. */
export interface StepItem<Condition> {
  latents: Float32Array;
  sigma: number;
  condition: Condition;
}

export interface Denoising<Condition> {
  /**
   * Denoisings of one key may share a step: their latents have one shape, and their conditions go through one
   * network.
   */
  shapeKey: string;
  /** Noise at σ = 1; walked in place, and the finished latents afterwards. */
  latents: Float32Array;
  /** `steps + 1` noise levels, the last one 0. */
  sigmas: Float32Array;
  condition: Condition;
  /** Steps that are done already: `latents` are those after them. */
  from?: number;
  /**
   * Called after each step with how many are done, the velocity it took (to be read before the first `await`)
   * and the noise level it has reached. The denoising sits out until what it returns has settled; others go
   * on.
   */
  onStep: (done: number, velocity: Float32Array, sigma: number) => void | Promise<void>;
  signal: AbortSignal;
}

export interface StepBatcher<Condition> {
  /**
   * Resolves when all steps are done. Rejects with the signal's reason as soon as it is aborted, with what
   * the network threw on this item alone, or with `runner_server_error` when its velocity does not fit or is
   * not finite. Others never notice.
   */
  denoise(denoising: Denoising<Condition>): Promise<void>;
  /** Does a piece of the model's other work between two steps, in the order it was asked for. */
  between<T>(work: () => Promise<T>): Promise<T>;
  /** Does a piece of work when nothing else waits. */
  whenIdle<T>(work: () => Promise<T>): Promise<T>;
  /** Denoisings that have begun and not ended. */
  readonly inFlight: number;
  /** Items of one pass, at most. */
  itemsMax: number;
}

export interface StepNetwork<Condition> {
  /**
   * The (guided) velocity of each item, in order; all are of one shape key. May block the event loop. The
   * result for an item must not depend on the others.
   */
  predict: (items: readonly StepItem<Condition>[]) => Promise<readonly Float32Array[]>;
  /** Items of one pass, at most: the manifest's word. A profile may find less worthwhile. */
  itemsMax: number;
}

/**
 * How long the model's other work goes on between two steps, to the end of the piece at hand. Prompts that
 * came together are all encoded before the next pass, so that they begin together; a pass costs the less for
 * each the fuller it is.
 */
const BETWEEN_MS = 50;

/** A denoising on its way. */
interface Walk<Condition> extends Denoising<Condition> {
  done: number;
  ended: boolean;
  resolve: () => void;
  reject: (reason: unknown) => void;
}

export function createStepBatcher<Condition>({
  predict,
  itemsMax,
}: StepNetwork<Condition>): StepBatcher<Condition> {
  /**
   * Walks that are ready for their next step, by shape. The first shape's turn is next; so is each shape's
   * first walk.
   */
  const ready = new Map<string, Walk<Condition>[]>();
  /**
   * Shapes of which a pass failed that was fine in parts: it did not fit in memory. Items that are still
   * tried together.
   */
  const fits = new Map<string, number>();
  const betweens: (() => Promise<void>)[] = [];
  const idles: (() => Promise<void>)[] = [];
  let inFlight = 0;
  let running = false;

  const enqueue = (walk: Walk<Condition>): void => {
    const waiting = ready.get(walk.shapeKey);
    if (waiting) waiting.push(walk);
    else ready.set(walk.shapeKey, [walk]);
    run();
  };

  const run = (): void => {
    if (running) return;
    running = true;
    void (async () => {
      while (betweens.length + ready.size + idles.length > 0) {
        await yieldToEventLoop();
        const untilMs = performance.now() + BETWEEN_MS;
        while (betweens.length > 0) {
          await betweens.shift()?.();
          await yieldToEventLoop();
          if (performance.now() > untilMs) break;
        }
        if (ready.size > 0) await step();
        else if (betweens.length === 0) await idles.shift()?.();
      }
      running = false;
    })();
  };

  /** One pass for the shape whose turn it is. */
  const step = async (): Promise<void> => {
    for (const [shapeKey, waiting] of ready) {
      const alive = waiting.filter(({ ended }) => !ended);
      const batch = alive.splice(
        0,
        Math.min(batcher.itemsMax, fits.get(shapeKey) ?? Number.POSITIVE_INFINITY),
      );
      // Whoever waits on, waits behind the other shapes.
      ready.delete(shapeKey);
      if (alive.length > 0) ready.set(shapeKey, alive);
      if (batch.length === 0) continue;
      const velocities = await predictEach(batch);
      batch.forEach((walk, i) => {
        advance(walk, velocities[i]);
      });
      return;
    }
  };

  const predictEach = async (batch: readonly Walk<Condition>[]): Promise<unknown[]> => {
    try {
      const items = batch.map(({ latents, sigmas, done, condition }) => ({
        latents,
        sigma: sigmas[done] ?? 0,
        condition,
      }));
      return [...(await predict(items))];
    } catch (error) {
      if (batch.length === 1) return [error ?? new Error("The network failed without a reason.")];
      // Each alone: the one it is about fails, the others go on.
      const apart: unknown[] = [];
      for (const walk of batch) {
        await yieldToEventLoop();
        apart.push(walk.ended ? undefined : (await predictEach([walk]))[0]);
      }
      const shapeKey = batch[0]?.shapeKey ?? "";
      if (apart.every((velocity) => velocity instanceof Float32Array))
        fits.set(shapeKey, Math.floor(batch.length / 2));
      return apart;
    }
  };

  const advance = (walk: Walk<Condition>, velocity: unknown): void => {
    if (walk.ended) return;
    try {
      const { latents, sigmas, done } = walk;
      const [sigma, next] = [sigmas[done] ?? 0, sigmas[done + 1] ?? 0];
      const usable = usableVelocity(velocity, latents.length, `step ${done + 1} of ${sigmas.length - 1}`);
      eulerStep(latents, usable, sigma, next);
      walk.done++;
      const looking = walk.onStep(walk.done, usable, next);
      if (looking) looking.then(() => goOn(walk), walk.reject);
      else goOn(walk);
    } catch (error) {
      walk.reject(error);
    }
  };

  const goOn = (walk: Walk<Condition>): void => {
    if (walk.ended) return;
    if (walk.done + 1 >= walk.sigmas.length) walk.resolve();
    else enqueue(walk);
  };

  const inTurn = <T>(queue: (() => Promise<void>)[], work: () => Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      queue.push(() => work().then(resolve, reject));
      run();
    });

  const batcher: StepBatcher<Condition> = {
    itemsMax,
    get inFlight() {
      return inFlight;
    },
    between: (work) => inTurn(betweens, work),
    whenIdle: (work) => inTurn(idles, work),
    denoise: (denoising) =>
      new Promise((resolve, reject) => {
        const { signal } = denoising;
        if (signal.aborted) return reject(signal.reason);
        const end = (settle: () => void): void => {
          if (walk.ended) return;
          walk.ended = true;
          inFlight--;
          signal.removeEventListener("abort", onAbort);
          settle();
        };
        const onAbort = () => end(() => reject(signal.reason));
        const walk: Walk<Condition> = {
          ...denoising,
          done: denoising.from ?? 0,
          ended: false,
          resolve: () => end(resolve),
          reject: (reason) => end(() => reject(reason)),
        };
        inFlight++;
        signal.addEventListener("abort", onAbort, { once: true });
        goOn(walk);
      }),
  };
  return batcher;
}

/** @throws what the network threw on this item, or why its velocity cannot be used */
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

const serverError = (message: string): TemperaError => new TemperaError("runner_server_error", message);
