import { TemperaError } from "../../core/errors/tempera-error.ts";

export interface InFlight {
  /**
   * Takes one of an owner's places, until it is disposed of. Throws `concurrent_requests_limit` when all are
   * taken.
   */
  take(ownerId: string): Disposable;
}

/**
 * Counts what each owner has open at this gateway, so that one cannot take everything: a run or a stream
 * holds a connection and a subscription, a realtime session a slot of an engine.
 *
 * @param maxNow how many each may have, asked for each time
 * @param what  and @param remedy  what the refusal says: "You have 3 <what>, as many as you may. <remedy>"
 */
export function createInFlight(maxNow: () => number, what: string, remedy: string): InFlight {
  const open = new Map<string, number>();
  return {
    take(ownerId) {
      const before = open.get(ownerId) ?? 0;
      const max = maxNow();
      if (before >= max)
        throw new TemperaError(
          "concurrent_requests_limit",
          `You have ${max} ${what}, as many as you may. ${remedy}`,
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
