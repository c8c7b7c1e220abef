import { TemperaError } from "../../core/errors/tempera-error.ts";

export interface InFlight {
  /** Takes one of an owner's places, until it is disposed of. Throws `concurrent_requests_limit` when all are taken. */
  take(ownerId: string): Disposable;
}

/** Counts the runs and streams that each owner has open at this gateway: every one holds a connection and a subscription. */
export function createInFlight(max: number): InFlight {
  const open = new Map<string, number>();
  return {
    take(ownerId) {
      const before = open.get(ownerId) ?? 0;
      if (before >= max)
        throw new TemperaError(
          "concurrent_requests_limit",
          `You have ${max} runs and streams open, as many as you may. Wait for one, or submit to the queue.`,
        );
      open.set(ownerId, before + 1);
      let taken = true;
      return {
        [Symbol.dispose]: () => {
          if (!taken) return;
          taken = false;
          const left = (open.get(ownerId) ?? 1) - 1;
          if (left > 0) open.set(ownerId, left);
          else open.delete(ownerId);
        },
      };
    },
  };
}
