/** What was opened, closed again in the opposite order (Node 20 has no `AsyncDisposableStack`). */
export interface Closing extends AsyncDisposable {
  defer(close: () => unknown): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Disposing closes everything, even when one close fails; the first failure is thrown at the end. Later calls
 * do nothing.
 */
export function createClosing(): Closing {
  const closes: (() => unknown)[] = [];
  return {
    defer: (close) => closes.push(close),
    async [Symbol.asyncDispose]() {
      const failures: unknown[] = [];
      for (let close = closes.pop(); close; close = closes.pop()) {
        try {
          await close();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    },
  };
}
