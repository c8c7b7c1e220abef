import type { Hold } from "../limits/budget.ts";
import type { Turns } from "../limits/turns.ts";

/** A piece of the work on a frame. Gives the next piece, if there is one. */
export type Piece = () => Piece | undefined;

export interface FrameQueueOptions {
  turns: Turns;
  ownerId: string;
  /** The part of the budget of bodies to which the frames that wait count. */
  hold: Hold;
  /** Called with what a piece throws, which ends the work on its frame. The next one goes on. */
  onError(error: unknown): void;
  /** Called when frames begin to wait, and with `false` when none does any longer. */
  onWaiting?(isWaiting: boolean): void;
}

export interface QueuedFrame {
  /** Bytes of its content. */
  bytes: number;
  /** True when the work on it may keep the event loop from others. */
  isHeavy: boolean;
}

interface Entry {
  /** Absent for what only comes after the frames before it. */
  frame?: QueuedFrame;
  work: Piece;
}

/** Bytes that a frame that waits takes besides its own. A read of a socket holds thousands of tiny ones. */
const FRAME_OVERHEAD_BYTES = 512;

const heldBytes = ({ bytes }: QueuedFrame): number => bytes + FRAME_OVERHEAD_BYTES;

/**
 * The frames of a socket in one direction, worked on in their order. A light one is done at once; a heavy one
 * takes its owner's turns of the event loop, one for each of its pieces, and those after it wait.
 */
export class FrameQueue {
  readonly #options: FrameQueueOptions;
  readonly #waiting: Entry[] = [];
  #working = false;
  #closed = false;

  constructor(options: FrameQueueOptions) {
    this.#options = options;
  }

  /** True while frames wait or are worked on. */
  get busy(): boolean {
    return this.#working;
  }

  /** The bytes of the frames that wait. */
  get bytes(): number {
    return this.#closed ? 0 : this.#options.hold.amount;
  }

  /** Does the work on a frame. Throws as `Hold.resize` does when it would have to wait and may not. */
  add(frame: QueuedFrame, work: Piece): void {
    if (this.#closed || (!this.#working && this.#tryNow(frame, work))) return;
    const { hold } = this.#options;
    hold.resize(hold.amount + heldBytes(frame));
    this.#wait({ frame, work });
  }

  /** Does something once the frames before it are done. */
  after(work: () => void): void {
    if (this.#working && !this.#closed) this.#wait({ work: () => void work() });
    else work();
  }

  /** Drops whatever waits. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#waiting.length = 0;
    this.#options.hold[Symbol.dispose]();
    if (this.#working) this.#options.onWaiting?.(false);
  }

  #wait(entry: Entry): void {
    this.#waiting.push(entry);
    if (this.#working) return;
    this.#working = true;
    this.#options.onWaiting?.(true);
    void this.#work();
  }

  /** Never rejects. */
  async #work(): Promise<void> {
    const { hold, onWaiting } = this.#options;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      const { frame, work } = next;
      if (!frame) this.#do(work);
      else {
        if (!this.#tryNow(frame, work)) await this.#inTurns(frame, work);
        if (!this.#closed) hold.resize(hold.amount - heldBytes(frame));
      }
    }
    this.#working = false;
    if (!this.#closed) onWaiting?.(false);
  }

  #tryNow({ isHeavy }: QueuedFrame, work: Piece): boolean {
    const { turns, ownerId } = this.#options;
    return !isHeavy && turns.tryNow(ownerId, () => this.#doAll(work));
  }

  async #inTurns({ isHeavy }: QueuedFrame, work: Piece): Promise<void> {
    const { turns, ownerId } = this.#options;
    if (!isHeavy) return turns.take(ownerId, () => this.#doAll(work));
    let next = await turns.take(ownerId, () => this.#do(work));
    while (next) {
      const piece = next;
      next = await turns.resume(ownerId, () => this.#do(piece));
    }
  }

  #doAll(work: Piece): void {
    for (let next = this.#do(work); next; next = this.#do(next));
  }

  /** Does a piece, unless the queue was closed meanwhile. Gives the next one. */
  #do(piece: Piece): Piece | undefined {
    if (this.#closed) return undefined;
    try {
      return piece();
    } catch (error) {
      this.#options.onError(error);
      return undefined;
    }
  }
}
