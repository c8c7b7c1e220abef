import { onAbort } from "./with-abort.ts";

/** Resolves after `ms` milliseconds. Rejects with the signal's reason as soon as `signal` aborts. */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const subscription =
      signal &&
      onAbort(signal, () => {
        clearTimeout(timer);
        reject(signal.reason);
      });
    const timer = setTimeout(() => {
      subscription?.[Symbol.dispose]();
      resolve();
    }, ms);
  });
}
