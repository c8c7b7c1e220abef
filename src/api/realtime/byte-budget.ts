/**
 * Bytes that all sockets of a gateway keep in memory together: each is bounded, but a thousand of them would
 * not be.
 */
export interface ByteBudget {
  add(bytes: number): void;
  remove(bytes: number): void;
  /** Whether more is kept than may be: whoever has just added gives something up. */
  readonly over: boolean;
}

export function createByteBudget(bytesMax: number): ByteBudget {
  let kept = 0;
  return {
    add(bytes) {
      kept += bytes;
    },
    remove(bytes) {
      kept -= bytes;
    },
    get over() {
      return kept > bytesMax;
    },
  };
}
