/**
 * Calls of an engine's `Run`, one of them opened before there is a request for it.
 *
 * Opening a call takes the two processes as long as a small request does, so it happens while nobody waits
 * for it: after each call that has ended, once its result has been passed on.
 */
import type { EngineClient } from "../../contract/engine-protocol.ts";

export type RunCall = ReturnType<EngineClient["run"]>;

/**
 * Delay before the next call is opened. For this long, and mostly for less, the result of the last call still
 * needs this thread on its way to the caller.
 */
const OPEN_AFTER_MS = 5;

export class PrewarmedCalls {
  readonly #client: Pick<EngineClient, "run">;
  readonly #later: (work: () => void) => unknown;
  #ready: RunCall | undefined;
  #closed = false;

  /** @param later runs its argument when the result of the last call has been passed on */
  constructor(
    client: Pick<EngineClient, "run">,
    later: (work: () => void) => unknown = (work) => setTimeout(work, OPEN_AFTER_MS).unref(),
  ) {
    this.#client = client;
    this.#later = later;
  }

  /**
   * Takes the prewarmed call, or opens one when there is none. The taker learns the end of the call by
   * reading it. Throws once the client is closed.
   */
  take(): RunCall {
    const call = this.#ready ?? this.#open();
    this.#ready = undefined;
    call.once("status", () => this.#later(() => this.#prewarm()));
    return call;
  }

  /** Cancels the prewarmed call and opens no further one ahead of a request. */
  close(): void {
    this.#closed = true;
    this.#ready?.cancel();
    this.#ready = undefined;
  }

  #open(): RunCall {
    const call = this.#client.run();
    // Without a listener an error that comes late would end the process.
    call.on("error", () => {});
    return call;
  }

  #prewarm(): void {
    if (this.#closed || this.#ready) return;
    const call = this.#open();
    this.#ready = call;
    call.once("status", () => {
      if (this.#ready === call) this.#ready = undefined;
    });
  }
}
