/** Memory that the runs of one process share, in bytes. */
export class ByteBudget {
  #left: number;

  constructor(bytesMax: number) {
    this.#left = bytesMax;
  }

  /** Takes a part; false when there is not so much left. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }

  /** Gives a part back. */
  release(bytes: number): void {
    this.#left += bytes;
  }
}
