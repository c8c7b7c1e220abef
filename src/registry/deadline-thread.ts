/** A thread for work that would hold the event loop: each task has a deadline, and ends with its thread. */
import { Worker } from "node:worker_threads";
import { TemperaError } from "../core/errors/tempera-error.ts";

/** Sent once by the program of a thread, when it has loaded its code. */
export const READY = "ready";

export interface DeadlineThreadOptions {
  /** The program. It posts `READY`, then one answer for each message. */
  program: URL;
  memoryMib: number;
}

/** A thread that starts with its first task, and again after its end. Callers give one task at a time. */
export class DeadlineThread<Task, Answer> implements AsyncDisposable {
  readonly #options: DeadlineThreadOptions;
  #worker: Promise<Worker> | undefined;
  #isClosed = false;

  constructor(options: DeadlineThreadOptions) {
    this.#options = options;
  }

  /**
   * Performs a task. Resolves with `undefined` when the thread needed too long or too much memory; rejects
   * with `store_unavailable` once it was disposed of.
   */
  async perform(task: Task, deadlineMs: number): Promise<Answer | undefined> {
    this.#assertOpen();
    const worker = await this.#start();
    const answer = await answerOf<Answer>(worker, task, deadlineMs);
    if (answer !== undefined) return answer;
    await worker.terminate();
    this.#assertOpen();
    return undefined;
  }

  /** Ends the thread. Its task is rejected. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    const worker = await this.#worker?.catch(() => undefined);
    await worker?.terminate();
  }

  #assertOpen(): void {
    if (this.#isClosed) throw new TemperaError("store_unavailable", "The process is stopping. Try again.");
  }

  /** Gives the thread that runs, or starts one. */
  #start(): Promise<Worker> {
    if (this.#worker) return this.#worker;
    const starting = startWorker(this.#options);
    const forget = (): void => {
      if (this.#worker === starting) this.#worker = undefined;
    };
    starting.then((worker) => worker.once("exit", forget), forget);
    this.#worker = starting;
    return starting;
  }
}

/** Gives the address of a program that loads another one, written in TypeScript. */
function throughTsx(program: URL): URL {
  const tsx = import.meta.resolve("tsx/esm/api");
  const source = `import { register } from "${tsx}"; register(); await import("${program.href}");`;
  return new URL(`data:text/javascript,${encodeURIComponent(source)}`);
}

/** Starts the thread and waits until it has loaded its code, so that this takes no part in a deadline. */
async function startWorker({ program, memoryMib }: DeadlineThreadOptions): Promise<Worker> {
  // The source needs tsx, which a thread has to register for itself; compiled code does not.
  const worker = new Worker(program.href.endsWith(".ts") ? throughTsx(program) : program, {
    execArgv: [],
    resourceLimits: { maxOldGenerationSizeMb: memoryMib },
    // Nothing of the environment is of use to it.
    env: {},
  });
  worker.unref();
  await new Promise<void>((ready, fail) => {
    worker.once("message", (message) =>
      message === READY ? ready() : fail(new Error("the thread began with another message")),
    );
    worker.once("error", fail);
  });
  // An error ends the thread, which `answerOf` notices.
  worker.on("error", () => {});
  return worker;
}

/** Gives `undefined` when the thread ended, or gave no answer in time. */
function answerOf<Answer>(worker: Worker, task: unknown, deadlineMs: number): Promise<Answer | undefined> {
  return new Promise((done) => {
    const timer = setTimeout(() => end(undefined), deadlineMs);
    const ended = (): void => end(undefined);
    const end = (answer: Answer | undefined): void => {
      clearTimeout(timer);
      worker.off("message", end).off("exit", ended);
      done(answer);
    };
    worker.once("message", end).once("exit", ended);
    worker.postMessage(task);
  });
}
