import { Readable } from "node:stream";
import { TemperaError } from "../../core/errors/tempera-error.ts";

export interface ObjectBody {
  /**
   * The bytes; ends with an error when they are more or fewer than announced, or when their source breaks.
   */
  stream: Readable;
  /** Whether an error of a write came from the bytes' side, not from the store's. */
  broke(error: unknown): boolean;
}

/** The body of an object on its way into a store. */
export function objectBody(key: string, body: Buffer | Readable, bytes: number): ObjectBody {
  const source = body instanceof Readable ? body : [body];
  const faults: unknown[] = [];
  async function* checked(): AsyncGenerator<Uint8Array> {
    let seen = 0;
    try {
      for await (const chunk of source as AsyncIterable<Uint8Array>) {
        seen += chunk.length;
        if (seen > bytes) break;
        yield chunk;
      }
      if (seen !== bytes)
        throw new TemperaError(
          "internal_error",
          `${key} was to be ${bytes} bytes and is ${seen > bytes ? "more" : seen}.`,
        );
    } catch (error) {
      faults.push(error);
      throw error;
    }
  }
  return {
    stream: Readable.from(checked(), { objectMode: false }),
    broke: (error) => faults.includes(error),
  };
}
