import { checkpointKey } from "../../core/engines/engine.ts";
import type { ObjectStore } from "../../core/files/object-store.ts";
import { LIMITS } from "../../core/limits.ts";

/**
 * Stores the newest checkpoint of one job in the object store, where the job's next attempt finds it on any
 * worker. One checkpoint is sent at a time; of those that arrive meanwhile, only the newest is sent next.
 *
 * A checkpoint only saves time: when the object store fails, a warning is logged and the job goes on.
 */
export class CheckpointStore {
  readonly #objects: Pick<ObjectStore, "put" | "get" | "delete">;
  readonly #key: string;
  readonly #warn: (message: string) => void;
  #next: { step: number; bytes: Uint8Array } | undefined;
  #sending: Promise<void> | undefined;
  #savedStep: number | undefined;
  /** This attempt or an earlier one may have stored a checkpoint. */
  #used = false;

  constructor(
    objects: Pick<ObjectStore, "put" | "get" | "delete">,
    requestId: string,
    warn: (message: string) => void,
  ) {
    this.#objects = objects;
    this.#key = checkpointKey(requestId);
    this.#warn = warn;
  }

  /** The step of the newest stored checkpoint. */
  get savedStep(): number | undefined {
    return this.#savedStep;
  }

  /**
   * Returns the newest checkpoint of an earlier attempt; `undefined` when there is none or it is unreadable.
   */
  async find(): Promise<Uint8Array | undefined> {
    this.#used = true;
    try {
      const found = await this.#objects.get(this.#key);
      return found && (await readBounded(found.body as AsyncIterable<Buffer>));
    } catch (error) {
      this.#warn(`the checkpoint cannot be read: ${String(error)}`);
      return undefined;
    }
  }

  /** Stores a checkpoint in place of the earlier ones, without waiting. */
  save(step: number, bytes: Uint8Array): void {
    this.#used = true;
    this.#next = { step, bytes };
    this.#sending ??= this.#send();
  }

  /**
   * Resolves when every checkpoint is stored or given up, and after `LIMITS.checkpointWaitMs` at the latest.
   */
  async flush(): Promise<void> {
    if (!this.#sending) return;
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LIMITS.checkpointWaitMs);
    });
    await Promise.race([this.#sending, timeout]);
    clearTimeout(timer);
  }

  /** Deletes the checkpoint of this attempt or of an earlier one, after the one that is being sent. */
  async remove(): Promise<void> {
    if (!this.#used) return;
    this.#next = undefined;
    await this.#sending;
    await this.#objects
      .delete(this.#key)
      .catch((error) => this.#warn(`the checkpoint was not deleted: ${String(error)}`));
    this.#savedStep = undefined;
  }

  async #send(): Promise<void> {
    for (let next = this.#next; next; next = this.#next) {
      this.#next = undefined;
      const { step, bytes } = next;
      try {
        await this.#objects.put(this.#key, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), {
          bytes: bytes.length,
          contentType: "application/octet-stream",
        });
        this.#savedStep = step;
      } catch (error) {
        this.#warn(`the checkpoint of step ${step} was not stored: ${String(error)}`);
      }
    }
    this.#sending = undefined;
  }
}

async function readBounded(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > LIMITS.checkpointBytesMax)
      throw new Error(`it is larger than ${LIMITS.checkpointBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
