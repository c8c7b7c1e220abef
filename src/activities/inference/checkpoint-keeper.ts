import { checkpointKey } from "../../core/engines/checkpoint.ts";
import { LIMITS } from "../../core/limits.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";

export interface CheckpointKeeper {
  /** What an earlier attempt kept last; undefined when there is nothing, or it cannot be had. */
  find(): Promise<Uint8Array | undefined>;
  /**
   * Keeps a checkpoint in place of the ones before it. Does not wait: while one is on its way, only the
   * newest after it counts.
   */
  take(step: number, bytes: Uint8Array): void;
  /** Everything taken is kept or given up; resolves after `LIMITS.checkpointWaitMs` in any case. */
  settled(): Promise<void>;
  /** Deletes what this attempt or an earlier one has kept, as soon as nothing is on its way any more. */
  drop(): Promise<void>;
  /** The step of the newest one that is kept. */
  readonly step: number | undefined;
}

/**
 * Keeps the newest checkpoint of one job in the object store, where the job's next attempt finds it on any
 * worker.
 *
 * A checkpoint saves time, nothing else: when the store fails, that is a line in the worker's log, and the
 * job goes on.
 */
export function createCheckpointKeeper(
  objects: Pick<ObjectStore, "put" | "get" | "delete">,
  requestId: string,
  warn: (message: string) => void,
): CheckpointKeeper {
  const key = checkpointKey(requestId);
  let waiting: { step: number; bytes: Uint8Array } | undefined;
  let sending: Promise<void> | undefined;
  let kept: number | undefined;
  let used = false;

  const send = async (): Promise<void> => {
    for (let next = waiting; next; next = waiting) {
      waiting = undefined;
      const { step, bytes } = next;
      try {
        await objects.put(key, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), {
          bytes: bytes.length,
          contentType: "application/octet-stream",
        });
        kept = step;
      } catch (error) {
        warn(`the checkpoint of step ${step} was not kept: ${String(error)}`);
      }
    }
    sending = undefined;
  };

  return {
    async find() {
      used = true;
      try {
        const found = await objects.get(key);
        if (!found) return undefined;
        const chunks: Buffer[] = [];
        let bytes = 0;
        for await (const chunk of found.body as AsyncIterable<Buffer>) {
          bytes += chunk.length;
          if (bytes > LIMITS.checkpointBytesMax)
            throw new Error(`it is larger than ${LIMITS.checkpointBytesMax} bytes`);
          chunks.push(chunk);
        }
        return Buffer.concat(chunks);
      } catch (error) {
        warn(`the checkpoint cannot be read: ${String(error)}`);
        return undefined;
      }
    },
    take(step, bytes) {
      used = true;
      waiting = { step, bytes };
      sending ??= send();
    },
    async settled() {
      if (!sending) return;
      let timer: NodeJS.Timeout | undefined;
      const enough = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, LIMITS.checkpointWaitMs);
      });
      await Promise.race([sending, enough]);
      clearTimeout(timer);
    },
    async drop() {
      if (!used) return;
      waiting = undefined;
      await sending;
      await objects.delete(key).catch((error) => warn(`the checkpoint was not deleted: ${String(error)}`));
      kept = undefined;
    },
    get step() {
      return kept;
    },
  };
}
