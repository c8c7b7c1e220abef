import { LIMITS } from "../../core/limits.ts";
import type { Frame } from "../../core/requests/session.ts";

/**
 * The inputs of a session on their way to the engine. The gateway sends few of them ahead; when a gateway
 * sends more than `LIMITS.framesBufferedMax`, the oldest are dropped.
 */
export class FrameQueue implements AsyncIterable<Frame> {
  readonly #frames: Frame[] = [];
  #ended = false;
  #wake = (): void => {};

  push(frame: Frame): void {
    if (this.#frames.length >= LIMITS.framesBufferedMax) this.#frames.shift();
    this.#frames.push(frame);
    this.#wake();
  }

  /** Ends the iteration after the frames that are queued. */
  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) yield frame;
      else if (this.#ended) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }
}
