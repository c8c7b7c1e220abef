import { finished } from "node:stream";
import { Semaphore } from "../../core/concurrency/semaphore.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import type { ValueSource } from "../../core/files/stored-value.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ApiDependencies } from "../dependencies.ts";
import type { Budget, Hold } from "./budget.ts";

/** Objects that are read, and never written. */
export type StoredReader = Pick<ObjectStore, "get" | "head"> & ValueSource;

/** Stored values as one call reads them. Dispose of it when the call has used them. */
export interface CountedReads extends Disposable {
  objects: StoredReader;
  /** Tells whether a value was read since `release`. */
  readonly hasRead: boolean;
  /** Gives back what the values of the call take: it has used them. */
  release(): void;
}

/**
 * Reads the stored values of a call, which are large: one at a time, from its owner's part of the budget of
 * bodies, and parsed in its owner's turn. Of several values, the largest counts, until they are released.
 *
 * `objects.get` rejects as `holdValue` does.
 */
export function countedReads(
  { objects, budgets }: Pick<ApiDependencies, "objects" | "budgets">,
  ownerId: string,
): CountedReads {
  const hold = budgets.bodies.acquire(ownerId, 0);
  const reads = new Semaphore(1);
  return {
    get hasRead() {
      return hold.amount > 0;
    },
    release: () => hold.resize(0),
    [Symbol.dispose]: () => hold[Symbol.dispose](),
    objects: {
      head: (key) => objects.head(key),
      inTurn: (parse) => budgets.turns.take(ownerId, parse),
      async get(key, range) {
        const end = await reads.acquire();
        try {
          const info = await objects.head(key);
          if (info && info.bytes > hold.amount) await holdValue(budgets.bodies, hold, info.bytes);
          const found = info && (await objects.get(key, range));
          if (found) finished(found.body, end);
          else end();
          return found;
        } catch (error) {
          end();
          throw error;
        }
      },
    },
  };
}

/**
 * Holds the bytes of a stored value, as soon as there is room for them. One of more than half of what an
 * owner may have counts as half, so that it can be read at all: values are limited by what they are part of.
 *
 * Rejects as `Hold.resizeWithin` does.
 */
export function holdValue(bodies: Budget, hold: Hold, bytes: number): Promise<void> {
  return hold.resizeWithin(Math.min(bytes, Math.floor(bodies.ofOwner / 2)), LIMITS.valueRoomMs);
}
