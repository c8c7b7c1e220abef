/**
 * Calls `listener` once when `signal` aborts, or at once when it has aborted already. Dispose of the returned
 * subscription when the abort no longer matters: signals that live long would otherwise collect listeners.
 */
export function onAbort(signal: AbortSignal, listener: () => void): Disposable {
  const call = () => listener();
  signal.addEventListener("abort", call, { once: true });
  if (signal.aborted) {
    signal.removeEventListener("abort", call);
    listener();
  }
  return { [Symbol.dispose]: () => signal.removeEventListener("abort", call) };
}

/**
 * Settles as `promise` does, or rejects with the signal's reason as soon as `signal` aborts. The work behind
 * `promise` goes on after an abort; a later rejection of it is ignored.
 */
export async function withAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let subscription: Disposable | undefined;
  const aborted = new Promise<never>((_, reject) => {
    subscription = onAbort(signal, () => reject(signal.reason));
  });
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    subscription?.[Symbol.dispose]();
  }
}
