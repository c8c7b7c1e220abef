/** A signal that aborts at a time. Dispose of it when that no longer matters. */
export interface TimeoutSignal extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * Makes a signal that aborts after `ms` milliseconds with a `TimeoutError`. The wait keeps no process alive.
 *
 * Use it in place of `AbortSignal.timeout` within `AbortSignal.any`: Node 20 collects a timeout signal that
 * nothing else refers to, and the combined signal then never aborts.
 */
export function timeoutSignal(ms: number): TimeoutSignal {
  const controller = new AbortController();
  const timer = setTimeout(() => {
    controller.abort(new DOMException(`The wait took longer than ${ms} ms.`, "TimeoutError"));
  }, ms).unref();
  return { signal: controller.signal, [Symbol.dispose]: () => clearTimeout(timer) };
}
