import { LiveValue } from "../../core/concurrency/live-value.ts";
import { errorInfo } from "../../core/errors/tempera-error.ts";
import type { Lifecycle } from "../../core/files/lifecycle.ts";
import type { StorageControl } from "../../core/files/storage-control.ts";
import type { Log } from "../../core/operations/log.ts";

/** The default lifecycle of each owner's new files, held in memory. */
export interface StorageDefaults extends AsyncDisposable {
  of(ownerId: string): Lifecycle | undefined;
}

/** Time between two reads without a notification: one may have been lost with its connection. */
const REREAD_MS = 60_000;

/** Rejects with `store_unavailable` when the defaults cannot be read at the start. */
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
      log.warn({ err: errorInfo(error) }, "storage defaults were not read; the last ones stay in force"),
  });
  return {
    of: (ownerId) => all.current.get(ownerId),
    [Symbol.asyncDispose]: () => all[Symbol.asyncDispose](),
  };
}
