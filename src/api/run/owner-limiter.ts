import { TemperaError } from "../../core/errors/tempera-error.ts";

/** A limit on what each owner has open at this gateway. */
export interface OwnerLimiter {
  /**
   * Counts one more until it is disposed of. Throws `concurrent_requests_limit` when the limit is reached.
   */
  acquire(ownerId: string): Disposable;
}

/**
 * Counts what each owner has open at this gateway, so that no owner uses up everything: a run or a stream
 * has a connection and a subscription, a realtime session a slot of an engine.
 *
 * @param limit the most that each owner may have open; read at each `acquire`, since it may change
 * @param things names what is counted, and `remedy` the way out, in the error: "You have 3 <things>, which is
 * the limit. <remedy>"
 */
export function createOwnerLimiter(limit: () => number, things: string, remedy: string): OwnerLimiter {
  const open = new Map<string, number>();
  return {
    acquire(ownerId) {
      const count = open.get(ownerId) ?? 0;
      const max = limit();
      if (count >= max)
        throw new TemperaError(
          "concurrent_requests_limit",
          `You have ${max} ${things}, which is the limit. ${remedy}`,
        );
      open.set(ownerId, count + 1);
      let isOpen = true;
      return {
        [Symbol.dispose]: () => {
          if (!isOpen) return;
          isOpen = false;
          const left = (open.get(ownerId) ?? 1) - 1;
          if (left > 0) open.set(ownerId, left);
          else open.delete(ownerId);
        },
      };
    },
  };
}
