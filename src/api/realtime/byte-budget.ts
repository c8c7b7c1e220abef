/**
 * Counts the bytes that all sockets of a gateway hold in memory together: each has a bound, but a thousand
 * sockets would not.
 */
export interface ByteBudget {
  add(bytes: number): void;
  remove(bytes: number): void;
  /** True while more bytes are held than allowed. The socket that added last must then give up some. */
  readonly exceeded: boolean;
}

export function createByteBudget(bytesMax: number): ByteBudget {
  let held = 0;
  return {
    add(bytes) {
      held += bytes;
    },
    remove(bytes) {
      held -= bytes;
    },
    get exceeded() {
      return held > bytesMax;
    },
  };
}
