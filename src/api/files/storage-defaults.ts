import { LiveValue } from "../../core/concurrency/live-value.ts";
import { errorInfo } from "../../core/errors/tempera-error.ts";
import type { Lifecycle } from "../../core/files/lifecycle.ts";
import type { StorageControl } from "../../core/files/storage-control.ts";
import type { Log } from "../../core/operations/log.ts";

/** What an owner's new files get when the call that makes them says nothing. Known without asking anybody. */
export interface StorageDefaults extends AsyncDisposable {
  of(ownerId: string): Lifecycle | undefined;
}

/**
 * How often they are read again although no change was told: a notification may have been lost with its
 * connection.
 */
const REREAD_MS = 60_000;

/** Holds every owner's defaults in memory. */
export async function createStorageDefaults({
  storage,
  log,
}: {
  storage: StorageControl;
  log: Log;
}): Promise<StorageDefaults> {
  const all = await LiveValue.start({
    read: () => storage.allDefaults(),
    onChange: (listener) => storage.onChange(listener),
    everyMs: REREAD_MS,
    onReadError: (error) =>
      log.warn({ err: errorInfo(error) }, "storage defaults were not read; the ones before stay in force"),
  });
  return {
    of: (ownerId) => all.current.get(ownerId),
    [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
  };
}
