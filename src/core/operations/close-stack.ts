/** A stack of close functions that run in the opposite order (Node 20 has no `AsyncDisposableStack`). */
export interface CloseStack extends AsyncDisposable {
  defer(close: () => unknown): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Makes an empty stack. Disposing of it runs every function, even when one fails, and then throws the first
 * failure. Later disposals do nothing.
 */
export function createCloseStack(): CloseStack {
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

/** Runs `compose` with an empty stack, and disposes of what it put there when it rejects. */
export async function closeOnFailure<T>(compose: (closing: CloseStack) => Promise<T>): Promise<T> {
  const closing = createCloseStack();
  try {
    return await compose(closing);
  } catch (error) {
    await closing[Symbol.asyncDispose]().catch(() => {}); // the first failure says more
    throw error;
  }
}
