import type { ObjectStore } from "../../core/files/object-store.ts";

/**
 * Creates an object store that is used before it was reached.
 *
 * @param reached returns the store, or throws the error of a call that cannot be made yet
 */
export function createLazyObjectStore(reached: () => ObjectStore): ObjectStore {
  return {
    put: async (...args) => reached().put(...args),
    head: async (...args) => reached().head(...args),
    get: async (...args) => reached().get(...args),
    delete: async (...args) => reached().delete(...args),
    list: async (...args) => reached().list(...args),
    beginParts: async (...args) => reached().beginParts(...args),
    putPart: async (...args) => reached().putPart(...args),
    completeParts: async (...args) => reached().completeParts(...args),
    abortParts: async (...args) => reached().abortParts(...args),
  };
}
