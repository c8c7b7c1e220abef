/** The emitter of a run: what a runner reports while it works, and how that goes over the wire. */
import { createHash } from "node:crypto";
import { LIMITS } from "../../core/limits.ts";
import type { CheckpointPolicy } from "../../core/models/model.ts";
import type { LogLevel } from "../../core/requests/events.ts";
import { type CheckpointOwner, encodeCheckpoint, type RunState } from "../contract/checkpoint.ts";
import { CHUNK_BYTES_MAX, type RunEvent } from "../contract/engine-protocol.ts";

export interface ProducedFile {
  contentType: string;
  fileName: string;
  width?: number;
  height?: number;
}

/**
 * The bytes of a file too large for memory. They are produced twice, by two calls of `read`: first for their
 * digest, then to be sent.
 */
export interface StreamedBytes {
  bytes: number;
  /** Yields chunks of any size. Must yield to the event loop every 300 ms. */
  read(): AsyncIterable<Uint8Array>;
}

/** Reports of a run while it works. They reach the caller in the order in which they were made. */
export interface RunEmitter {
  log(level: LogLevel, message: string): void;
  progress(step: number, steps: number, remainingMs?: number): void;
  /**
   * Absent when nobody watches. `data` is an image file of at most `LIMITS.previewBytesMax` bytes; a larger
   * one is left out.
   */
  preview?(step: number, contentType: string, data: Uint8Array): void;
  /** Resolves when the bytes are on their way, with the object that stands for the file in the output. */
  artifact(file: ProducedFile, bytes: Uint8Array): Promise<{ $artifact: number }>;
  /**
   * Offers the state after a step; absent when the caller stores no checkpoints. `state` is called only when
   * a checkpoint is due, and its result is encoded before this method returns.
   */
  checkpoint?(step: number, state: () => Omit<RunState, "step">): void;
}

/** The emitter that an engine hands to its runner. */
export interface StreamingEmitter extends RunEmitter {
  /** Sends a file as `artifact` does, while it is being produced. */
  streamedArtifact(file: ProducedFile, content: StreamedBytes): Promise<{ $artifact: number }>;
}

/** The call that a run answers. */
export interface RunCall {
  /** Returns false when further messages should wait for `drained`. */
  write(event: RunEvent): boolean;
  /** Rejects with the signal's reason when it aborts first. */
  drained(signal: AbortSignal): Promise<void>;
}

export interface EmitterOptions {
  signal: AbortSignal;
  previews: boolean;
  /** Absent when the caller stores no checkpoints. */
  checkpoints?: CheckpointOptions;
}

interface CheckpointOptions {
  owner: CheckpointOwner;
  policy: CheckpointPolicy;
  /** Step and moment of the last checkpoint, or of the start of the run. */
  sinceStep: number;
  sinceMs: number;
}

export function createEmitter(
  call: RunCall,
  { signal, previews, checkpoints }: EmitterOptions,
): StreamingEmitter {
  const writer = new EventWriter(call, signal);
  const sender = checkpoints && new CheckpointSender(writer, checkpoints);
  return {
    log: (level, message) => void writer.write({ log: { level, message } }),
    progress: (step, steps, remainingMs) =>
      void writer.write({ progress: { step, steps, ...(remainingMs !== undefined && { remainingMs }) } }),
    ...(previews && {
      preview: (step: number, contentType: string, data: Uint8Array) => {
        if (data.length <= LIMITS.previewBytesMax) writer.write({ preview: { step, contentType, data } });
      },
    }),
    artifact: (file, bytes) => writer.sendFile(file, { bytes: bytes.length, read: () => [bytes] }),
    streamedArtifact: (file, content) => writer.sendFile(file, content),
    ...(sender && {
      checkpoint: (step: number, state: () => Omit<RunState, "step">) => sender.offer(step, state),
    }),
  };
}

interface FileContent {
  bytes: number;
  read(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Writes the events of a run in order. Nothing comes between the head of a file and its last chunk. */
class EventWriter {
  readonly signal: AbortSignal;
  readonly #call: RunCall;
  /** Events that wait for the end of the file being sent. */
  #delayed: RunEvent[] | undefined;
  #files = 0;
  #lastFile: Promise<unknown> = Promise.resolve();

  constructor(call: RunCall, signal: AbortSignal) {
    this.#call = call;
    this.signal = signal;
  }

  get isSendingFile(): boolean {
    return this.#delayed !== undefined;
  }

  /** Returns false when further messages should wait for `drained`. */
  write(event: RunEvent): boolean {
    if (!this.#delayed) return this.#writeNow(event);
    this.#delayed.push(event);
    return true;
  }

  drained(): Promise<void> {
    return this.#call.drained(this.signal);
  }

  /** Sends a file after the ones before it. */
  async sendFile(file: ProducedFile, content: FileContent): Promise<{ $artifact: number }> {
    const index = this.#files++;
    const sent = this.#lastFile.then(() => this.#sendNow(index, file, content));
    this.#lastFile = sent.catch(() => {});
    await sent;
    return { $artifact: index };
  }

  async #sendNow(index: number, file: ProducedFile, { bytes, read }: FileContent): Promise<void> {
    this.#delayed = [];
    try {
      const hash = createHash("sha256");
      for await (const part of read()) {
        this.signal.throwIfAborted();
        hash.update(part);
      }
      this.#writeNow({ artifact: { index, ...file, bytes, sha256: hash.digest("hex") } });
      for await (const part of read()) {
        for (let offset = 0; offset < part.length; offset += CHUNK_BYTES_MAX) {
          this.signal.throwIfAborted();
          const data = part.subarray(offset, offset + CHUNK_BYTES_MAX);
          if (!this.#writeNow({ chunk: { index, data } })) await this.drained();
        }
      }
    } finally {
      const delayed = this.#delayed;
      this.#delayed = undefined;
      for (const event of delayed) this.#writeNow(event);
    }
  }

  #writeNow(event: RunEvent): boolean {
    return this.signal.aborted || this.#call.write(event);
  }
}

/** Sends the checkpoints of a run that are due. */
class CheckpointSender {
  readonly #writer: EventWriter;
  readonly #options: CheckpointOptions;
  #sinceStep: number;
  #sinceMs: number;
  /** The caller has not taken the last checkpoint yet. */
  #isCongested = false;

  constructor(writer: EventWriter, options: CheckpointOptions) {
    this.#writer = writer;
    this.#options = options;
    this.#sinceStep = options.sinceStep;
    this.#sinceMs = options.sinceMs;
  }

  /** Leaves out a checkpoint while the one before it is on its way: a newer state follows soon. */
  offer(step: number, state: () => Omit<RunState, "step">): void {
    const nowMs = performance.now();
    if (!this.#isDue(step, nowMs) || this.#isCongested) return;
    if (this.#writer.isSendingFile || this.#writer.signal.aborted) return;
    this.#sinceStep = step;
    this.#sinceMs = nowMs;
    this.#send(step, state());
  }

  #isDue(step: number, nowMs: number): boolean {
    const { everySteps, everySeconds } = this.#options.policy;
    return (
      (everySteps > 0 && step - this.#sinceStep >= everySteps) ||
      (everySeconds > 0 && nowMs - this.#sinceMs >= everySeconds * 1000)
    );
  }

  #send(step: number, state: Omit<RunState, "step">): void {
    const bytes = encodeCheckpoint(this.#options.owner, { ...state, step });
    if (bytes.length > LIMITS.checkpointBytesMax) return;
    let isFree = this.#writer.write({ checkpoint: { step, bytes: bytes.length } });
    for (let offset = 0; offset < bytes.length; offset += CHUNK_BYTES_MAX) {
      const data = bytes.subarray(offset, offset + CHUNK_BYTES_MAX);
      isFree = this.#writer.write({ checkpointChunk: { data } });
    }
    if (isFree) return;
    this.#isCongested = true;
    const relieve = () => {
      this.#isCongested = false;
    };
    this.#writer.drained().then(relieve, relieve);
  }
}
