import { Readable } from "node:stream";
import { TemperaError } from "../../core/errors/tempera-error.ts";

export interface ObjectBody {
  /** The bytes. Fails when there are more or fewer than announced, or when their source fails. */
  stream: Readable;
  /** Returns whether an error of a write came from the bytes' source, and not from the store. */
  broke(error: unknown): boolean;
}

/** Checks the length of an object's body while it is written to a store. */
export function objectBody(key: string, body: Buffer | Readable, bytes: number): ObjectBody {
  const source = body instanceof Readable ? body : [body];
  const errors: unknown[] = [];
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
          `${key} was announced with ${bytes} bytes and has ${seen > bytes ? "more" : seen}.`,
        );
    } catch (error) {
      errors.push(error);
      throw error;
    }
  }
  return {
    stream: Readable.from(checked(), { objectMode: false }),
    broke: (error) => errors.includes(error),
  };
}
