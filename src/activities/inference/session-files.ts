/** The files that the inputs of a realtime session name: fetched before the engine gets the input. */
import { withAbort } from "../../core/concurrency/with-abort.ts";
import { type ErrorInfo, errorInfo } from "../../core/errors/tempera-error.ts";
import { inputUrls } from "../../core/files/input-file.ts";
import type { JsonObject } from "../../core/json/json.ts";
import type { Frame } from "../../core/requests/session.ts";
import { decodeFrame, encodeFrame } from "../../fal/msgpack.ts";
import type { FetchInput } from "./input-files.ts";

export interface SessionFilesOptions {
  fetchInput: FetchInput;
  ownerId: string;
  /** Aborts with the session. */
  signal: AbortSignal;
  /** Receives an input whose files cannot be fetched, in the order of the inputs. */
  onRefused: (sequence: number, error: ErrorInfo) => Promise<void>;
}

/**
 * Fetches the files of a session's inputs, one input after another, with the guard and the limits of a
 * request's. The files of an input are kept until the engine has settled it.
 */
export class SessionFiles implements AsyncDisposable {
  readonly #options: SessionFilesOptions;
  /** The files of the inputs that are with the engine. */
  readonly #held = new Map<number, AsyncDisposable>();
  #forwarded = 0;
  #settled = 0;
  #wake = (): void => {};

  constructor(options: SessionFilesOptions) {
    this.#options = options;
  }

  /** Yields the inputs with their files. An input whose files cannot be fetched is refused instead. */
  async *attachTo(inputs: AsyncIterable<Frame>): AsyncGenerator<Frame> {
    for await (const frame of inputs) {
      const attached = await this.#attach(frame);
      if (attached) yield attached;
    }
  }

  /** Removes the files of an input that the engine has finished. */
  async settled(sequence: number): Promise<void> {
    this.#settled = Math.max(this.#settled, sequence);
    this.#wake();
    const files = this.#held.get(sequence);
    this.#held.delete(sequence);
    await files?.[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const all = [...this.#held.values()];
    this.#held.clear();
    await Promise.all(all.map((files) => files[Symbol.asyncDispose]()));
  }

  async #attach(frame: Frame): Promise<Frame | undefined> {
    const { fetchInput, ownerId, signal, onRefused } = this.#options;
    try {
      const input = decodeFrame(frame.payload) as JsonObject;
      if (inputUrls(input).length === 0) return this.#forward(frame);
      const fetched = await fetchInput(input, ownerId, signal);
      this.#held.set(frame.sequence, fetched);
      return this.#forward({ ...frame, payload: encodeFrame(fetched.input), files: fetched.files });
    } catch (error) {
      signal.throwIfAborted();
      await withAbort(this.#allSettled(), signal);
      await onRefused(frame.sequence, errorInfo(error, "input_invalid"));
      return undefined;
    }
  }

  #forward(frame: Frame): Frame {
    this.#forwarded = frame.sequence;
    return frame;
  }

  /** Waits until the engine has finished what it was given, because inputs are settled in order. */
  async #allSettled(): Promise<void> {
    while (this.#settled < this.#forwarded)
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
  }
}
