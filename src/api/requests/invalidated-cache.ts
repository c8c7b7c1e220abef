/** What is read on every call and changes seldom: in memory as a whole. */
export interface KeptInMemory<T> extends AsyncDisposable {
  readonly current: T;
}

/**
 * Reads it at the start, again when the database says that it has changed, and now and then, since a
 * notification may be lost with its connection. One reading at a time, and none is missed. What cannot be
 * read stays as it was.
 *
 * Rejects when the first reading does.
 *
 * @param unread is told why a later reading failed
 */
export async function keepInMemory<T>({
  read,
  onChange,
  everyMs,
  unread,
}: {
  read: () => Promise<T>;
  onChange: (listener: () => void) => Promise<() => Promise<void>>;
  everyMs: number;
  unread: (error: unknown) => void;
}): Promise<KeptInMemory<T>> {
  let current = await read();
  let reading: Promise<void> | undefined;
  let again = false;
  const readAgain = async (): Promise<void> => {
    do {
      again = false;
      current = await read();
    } while (again);
  };
  const refresh = (): void => {
    again = true;
    reading ??= readAgain()
      .catch(unread)
      .finally(() => {
        reading = undefined;
      });
  };
  const stop = await onChange(refresh);
  const timer = setInterval(refresh, everyMs).unref();
  return {
    get current() {
      return current;
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      await stop();
      await reading;
    },
  };
}
