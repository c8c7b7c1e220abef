/**
 * The two failures of a store: `store_unavailable` is one that cannot be used at all, `store_full` one that
 * answers and takes no writes, because it has no space left or is read-only.
 */
import { isTemperaError, type StoreName, TemperaError } from "./tempera-error.ts";

/** The fault of a store that is read-only, for `storeFull`. */
export const READ_ONLY = "accepts only reads";

/** Error codes of a file system that takes no writes, each with its fault. */
const FULL_DISK = new Map([
  ["ENOSPC", "has no space left"],
  ["EDQUOT", "has used up its quota"],
  ["EROFS", READ_ONLY],
]);

type StoreFailure = TemperaError & { code: "store_unavailable" | "store_full" };

/** Tells whether a store failed, so that the same call may succeed when the store is well again. */
export function isStoreFailure(error: unknown): error is StoreFailure {
  return isTemperaError(error) && (error.code === "store_unavailable" || error.code === "store_full");
}

/**
 * Creates the error of a store that takes no writes. Callers read it: it contains no address.
 *
 * @param fault a predicate with the store's own code: "has no space left (ENOSPC)"
 * @param remedy an order to the operator: "free some space"
 */
export function storeFull(store: StoreName, fault: string, remedy: string, cause: unknown): TemperaError {
  return new TemperaError("store_full", `${nameOf(store)} ${fault}; ${remedy}.`, { store, cause });
}

/**
 * Returns the error of a store whose disk takes no writes, or `undefined` when the file system failed for
 * another reason.
 *
 * @param remedy as for `storeFull`
 */
export function diskFull(store: StoreName, error: unknown, remedy: string): TemperaError | undefined {
  const code = (error as NodeJS.ErrnoException | undefined)?.code ?? "";
  const fault = FULL_DISK.get(code);
  return fault === undefined ? undefined : storeFull(store, `${fault} (${code})`, remedy, error);
}

/** Returns the sentence about a failed store for callers, who need neither its address nor the cause. */
export function publicSentence({ code, message, store }: TemperaError): string {
  if (code === "store_full") return message;
  return `${store ? nameOf(store) : "A store"} cannot be reached. Try again.`;
}

/**
 * Returns why a request waits, and for what, for its log: "The object store is full", "has space".
 */
export function stateOfStore({ code, message, store }: TemperaError): { state: string; until: string } {
  const name = store ? nameOf(store) : "A store";
  if (code !== "store_full") return { state: `${name} is unavailable`, until: "is back" };
  if (message.includes(READ_ONLY)) return { state: `${name} is read-only`, until: "takes writes" };
  return { state: `${name} is full`, until: "has space" };
}

/** Names a store at the beginning of a sentence. */
function nameOf(store: StoreName): string {
  return store === "PostgreSQL" || store === "Redis" ? store : `The ${store}`;
}
