import { TemperaError } from "../../core/errors/tempera-error.ts";

/**
 * Settles as `work` does, or rejects with `temporal_unavailable` after `ms` milliseconds.
 *
 * It replaces the client's `withDeadline`, which uses an `AsyncLocalStorage` (see `connectTemporal`).
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
