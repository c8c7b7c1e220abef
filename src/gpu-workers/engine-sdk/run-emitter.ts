/** How a run speaks while it works, and how that goes over the wire. */
import { createHash } from "node:crypto";
import type { LogLevel } from "../../core/requests/events.ts";
import { LIMITS } from "../../core/limits.ts";
import type { CheckpointPolicy } from "../../core/models/model.ts";
import { type CheckpointOwner, encodeCheckpoint, type RunState } from "../contract/checkpoint.ts";
import { CHUNK_BYTES_MAX, type RunEvent } from "../contract/engine-protocol.ts";

export interface ProducedFile {
  contentType: string;
  fileName: string;
  width?: number;
  height?: number;
}

/**
 * The bytes of a file too large to be held: made anew by each `read`, first for their digest, then to be
 * sent.
 */
export interface StreamedBytes {
  bytes: number;
  /** Chunks of any size; must yield to the event loop every 300 ms. */
  read(): AsyncIterable<Uint8Array>;
}

/** How a run speaks while it works. All of it reaches the caller in the order it was said. */
export interface RunEmitter {
  log(level: LogLevel, message: string): void;
  progress(step: number, steps: number, remainingMs?: number): void;
  /**
   * Absent when nobody watches. `data` is a picture file of at most `LIMITS.previewBytesMax` bytes; a larger
   * one is left out.
   */
  preview?(step: number, contentType: string, data: Uint8Array): void;
  /** Resolves when the bytes are on their way, with what stands for the file in the output. */
  artifact(file: ProducedFile, bytes: Uint8Array): Promise<{ $artifact: number }>;
  /**
   * To be told of every step whose state could be kept; absent when nobody keeps any. Asks for the state only
   * when a checkpoint is due, and has taken what it needs of it when it returns.
   */
  checkpoint?(step: number, state: () => Omit<RunState, "step">): void;
}

/** What an engine hands its runner. */
export interface StreamingEmitter extends RunEmitter {
  /** As `artifact`, for a file that is made while it is sent. */
  streamedArtifact(file: ProducedFile, content: StreamedBytes): Promise<{ $artifact: number }>;
}

/** The call a run answers. */
export interface RunCall {
  /** False: what follows should wait for `drained`. */
  write(event: RunEvent): boolean;
  /** Rejects with the signal's reason when it aborts first. */
  drained(signal: AbortSignal): Promise<void>;
}

export interface EmitterOptions {
  signal: AbortSignal;
  previews: boolean;
  /** Absent when nobody keeps checkpoints. */
  checkpoints?: { owner: CheckpointOwner; policy: CheckpointPolicy; sinceStep: number; sinceMs: number };
}

export function createEmitter(
  call: RunCall,
  { signal, previews, checkpoints }: EmitterOptions,
): StreamingEmitter {
  let artifacts = 0;
  /**
   * Events that wait for the end of the file that is being sent, since nothing may come between its chunks.
   */
  let held: RunEvent[] | undefined;
  let sending: Promise<unknown> = Promise.resolve();
  let { sinceStep, sinceMs } = checkpoints ?? { sinceStep: 0, sinceMs: 0 };
  let congested = false;

  const write = (event: RunEvent): boolean => signal.aborted || call.write(event);
  const say = (event: RunEvent): boolean => {
    if (!held) return write(event);
    held.push(event);
    return true;
  };

  const sendFile = async (
    index: number,
    file: ProducedFile,
    content: Uint8Array | StreamedBytes,
  ): Promise<void> => {
    held = [];
    try {
      const { bytes, read } =
        content instanceof Uint8Array ? { bytes: content.length, read: () => [content] } : content;
      const hash = createHash("sha256");
      for await (const part of read()) {
        signal.throwIfAborted();
        hash.update(part);
      }
      write({ artifact: { index, ...file, bytes, sha256: hash.digest("hex") } });
      for await (const part of read()) {
        for (let at = 0; at < part.length; at += CHUNK_BYTES_MAX) {
          signal.throwIfAborted();
          if (!write({ chunk: { index, data: part.subarray(at, at + CHUNK_BYTES_MAX) } }))
            await call.drained(signal);
        }
      }
    } finally {
      const waiting = held;
      held = undefined;
      for (const event of waiting) write(event);
    }
  };

  const send = async (
    file: ProducedFile,
    content: Uint8Array | StreamedBytes,
  ): Promise<{ $artifact: number }> => {
    const index = artifacts++;
    const sent = sending.then(() => sendFile(index, file, content));
    sending = sent.catch(() => {});
    await sent;
    return { $artifact: index };
  };

  const sendCheckpoint = (owner: CheckpointOwner, step: number, state: Omit<RunState, "step">): void => {
    const bytes = encodeCheckpoint(owner, { ...state, step });
    if (bytes.length > LIMITS.checkpointBytesMax) return;
    let free = say({ checkpoint: { step, bytes: bytes.length } });
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES_MAX) {
      free = say({ checkpointChunk: { data: bytes.subarray(at, at + CHUNK_BYTES_MAX) } });
    }
    if (free) return;
    congested = true;
    const relieve = () => {
      congested = false;
    };
    call.drained(signal).then(relieve, relieve);
  };

  return {
    log: (level, message) => void say({ log: { level, message } }),
    progress: (step, steps, remainingMs) =>
      void say({ progress: { step, steps, ...(remainingMs !== undefined && { remainingMs }) } }),
    ...(previews && {
      preview: (step: number, contentType: string, data: Uint8Array) => {
        if (data.length <= LIMITS.previewBytesMax) say({ preview: { step, contentType, data } });
      },
    }),
    artifact: send,
    streamedArtifact: send,
    ...(checkpoints && {
      checkpoint: (step: number, state: () => Omit<RunState, "step">) => {
        const { everySteps, everySeconds } = checkpoints.policy;
        const nowMs = performance.now();
        const due =
          (everySteps > 0 && step - sinceStep >= everySteps) ||
          (everySeconds > 0 && nowMs - sinceMs >= everySeconds * 1000);
        // The caller still has the last one to take: a newer state comes soon.
        if (!due || congested || held || signal.aborted) return;
        [sinceStep, sinceMs] = [step, nowMs];
        sendCheckpoint(checkpoints.owner, step, state());
      },
    }),
  };
}
