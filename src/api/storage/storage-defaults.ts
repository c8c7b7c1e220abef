import { errorInfo } from "../../core/errors/tempera-error.ts";
import type { Lifecycle } from "../../core/lifecycle.ts";
import type { Log } from "../../core/ports/log.ts";
import type { StorageControl } from "../../core/ports/storage-control.ts";

/** What an owner's new files get when the call that makes them says nothing. Known without asking anybody. */
export interface StorageDefaults extends AsyncDisposable {
  of(ownerId: string): Lifecycle | undefined;
}

/** How often they are read again although no change was told: a notification may have been lost with its connection. */
const REREAD_MS = 60_000;

/** Holds every owner's defaults in memory, read anew whenever the database says that one has changed. */
export async function createStorageDefaults({ storage, log }: { storage: StorageControl; log: Log }): Promise<StorageDefaults> {
  let all = await storage.allDefaults();
  let reading: Promise<void> | undefined;
  let again = false;
  const read = async (): Promise<void> => {
    do {
      again = false;
      all = await storage.allDefaults();
    } while (again);
  };
  const refresh = (): void => {
    again = true;
    reading ??= read()
      .catch((error) => log.warn({ err: errorInfo(error) }, "storage defaults were not read; the ones before stay in force"))
      .finally(() => {
        reading = undefined;
      });
  };
  const stop = await storage.onChange(refresh);
  const timer = setInterval(refresh, REREAD_MS).unref();
  return {
    of: (ownerId) => all.get(ownerId),
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await stop();
      await reading;
    },
  };
}
