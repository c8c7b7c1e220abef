/**
 * Interval of the checks for progress, in milliseconds, and the checks without any before a step is stuck.
 */
const CHECK_MS = 15_000;
const CHECKS_MAX = 4;

/**
 * Watches the steps of workflow code, which one thread runs one after another, and reports when the thread no
 * longer completes any.
 */
export class StepWatch {
  /**
   * Rejects when the thread has not completed a step for a minute although some are pending. The error names
   * the workflow.
   */
  readonly stuck: Promise<never>;
  /** The workflows of pending steps, oldest first: the thread is at the first. */
  readonly #pending = new Map<symbol, string>();
  #completed = 0;
  readonly #timer: NodeJS.Timeout;

  constructor(checkMs = CHECK_MS) {
    let reject: (error: Error) => void = () => {};
    this.stuck = new Promise<never>((_, fail) => {
      reject = fail;
    });
    this.stuck.catch(() => {}); // reported by the caller, who races it with the worker's end
    let completedBefore = 0;
    let checks = 0;
    // Counts checks instead of measuring time: a machine that slept for an hour has made one.
    this.#timer = setInterval(() => {
      const [oldest] = this.#pending.values();
      checks = oldest === undefined || this.#completed !== completedBefore ? 0 : checks + 1;
      completedBefore = this.#completed;
      // The first check may come right after the step began, so it does not count.
      if (checks <= CHECKS_MAX) return;
      const seconds = (CHECKS_MAX * checkMs) / 1000;
      reject(
        new Error(
          `The workflow ${oldest} has held the thread of all workflows for ${seconds} s: ` +
            "a loop in its code does not end. Terminate it in Temporal, then correct its code.",
        ),
      );
    }, checkMs);
    this.#timer.unref();
  }

  /**
   * Counts a step of a workflow as pending until `ran` settles.
   *
   * @param workflow named in the error when the step is stuck
   * @param ran settles as soon as the step's code has run: a step that is done must not look pending
   */
  async step<T>(workflow: string, ran: Promise<T>): Promise<T> {
    const step = Symbol();
    this.#pending.set(step, workflow);
    try {
      return await ran;
    } finally {
      this.#pending.delete(step);
      this.#completed++;
    }
  }

  /** Ends the checks; `stuck` stays pending. */
  stop(): void {
    clearInterval(this.#timer);
  }
}
