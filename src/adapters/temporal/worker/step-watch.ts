/** How often it is looked whether steps come to an end, and how many looks in vain a step has. */
const LOOK_MS = 15_000;
const LOOKS = 4;

/**
 * A watch on workflow code: whether what its thread is asked for, one step after another, comes to an end.
 */
export class StepWatch {
  /** Rejects when the thread has not come to the end of a step for a minute; the error names the workflow. */
  readonly stuck: Promise<never>;
  /**
   * Whose steps were asked for and have not come to an end, the oldest first: it is the one that the thread
   * is at.
   */
  readonly #inHand = new Map<symbol, string>();
  #ended = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(lookMs = LOOK_MS) {
    let reject: (error: Error) => void = () => {};
    this.stuck = new Promise<never>((_, fail) => {
      reject = fail;
    });
    this.stuck.catch(() => {}); // told by whoever races it with the worker's end
    let seen = 0;
    let looks = 0;
    // Looks are counted, not the clock: a machine that slept for an hour has made one.
    this.#timer = setInterval(() => {
      const [oldest] = this.#inHand.values();
      looks = oldest === undefined || this.#ended !== seen ? 0 : looks + 1;
      seen = this.#ended;
      // The first may have come right behind the step's begin.
      if (looks <= LOOKS) return;
      const seconds = (LOOKS * lookMs) / 1000;
      reject(
        new Error(
          `The workflow ${oldest} has held the thread of all workflows for ${seconds} s: a loop in its code does not end. Terminate it in Temporal, and mend its code.`,
        ),
      );
    }, lookMs);
    this.#timer.unref();
  }

  /**
   * Counts a step of a workflow.
   *
   * @param ran settles once the step's code has run, and not later: steps that are done must not look as if the thread were at them
   */
  async step<T>(workflow: string, ran: Promise<T>): Promise<T> {
    const step = Symbol();
    this.#inHand.set(step, workflow);
    try {
      return await ran;
    } finally {
      this.#inHand.delete(step);
      this.#ended++;
    }
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
