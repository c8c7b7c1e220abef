import { TemperaError } from "../../core/errors/tempera-error.ts";

/**
 * Waits no longer than `ms`; rejects with `temporal_unavailable` then.
 *
 * Not the client's `withDeadline`: that runs in an `AsyncLocalStorage` (see `connectTemporal`).
 */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new TemperaError("temporal_unavailable")), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
