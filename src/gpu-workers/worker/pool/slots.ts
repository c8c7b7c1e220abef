/** Slots: how many runs go on at once; the others wait in the order they came. */
export interface Slots {
  /**
   * Resolves with how to give the slot back (calling it twice is harmless). Rejects with the signal's reason
   * when aborted.
   */
  acquire(signal: AbortSignal): Promise<() => void>;
  readonly running: number;
  readonly waiting: number;
}

export function createSlots(count: number): Slots {
  let running = 0;
  const queue = new Set<() => void>();

  const release = () => {
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const [next] = queue;
      if (next) next();
      else running--;
    };
  };

  return {
    async acquire(signal) {
      signal.throwIfAborted();
      if (running < count) {
        running++;
        return release();
      }
      return new Promise((resolve, reject) => {
        const onAbort = () => {
          queue.delete(take);
          reject(signal.reason);
        };
        const take = () => {
          queue.delete(take);
          signal.removeEventListener("abort", onAbort);
          resolve(release());
        };
        queue.add(take);
        signal.addEventListener("abort", onAbort, { once: true });
      });
    },
    get running() {
      return running;
    },
    get waiting() {
      return queue.size;
    },
  };
}
