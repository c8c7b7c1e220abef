import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { LIMITS } from "../../core/limits.ts";

export interface UploadBody {
  /** As announced; the stream has neither more nor fewer. */
  bytes: number;
  /**
   * Ends with `upload_interrupted` when the caller goes away, falls silent, or takes longer than
   * `LIMITS.uploadBodyMs`.
   */
  stream: Readable;
  /** Of what has been read, hex. */
  sha256(): string;
}

/**
 * The body of an upload, as it comes: nothing of it is held. Throws `length_required`, or `body_too_large`
 * before a byte is read.
 *
 * @param bytesMax the length that is too much when it is exceeded
 */
export function uploadBody(c: Context, bytesMax: number): UploadBody {
  const announced = c.req.header("content-length");
  if (announced === undefined || !/^\d{1,15}$/.test(announced)) throw new TemperaError("length_required");
  const bytes = Number(announced);
  if (bytes > bytesMax) {
    const most = bytesMax.toLocaleString("en-US");
    throw new TemperaError(
      "body_too_large",
      `The body has ${bytes.toLocaleString("en-US")} bytes, and at most ${most} are accepted here.`,
    );
  }
  const hash = createHash("sha256");
  async function* read(): AsyncGenerator<Uint8Array> {
    for await (const chunk of chunksOf(c.req.raw.body)) {
      hash.update(chunk);
      yield chunk;
    }
  }
  return {
    bytes,
    stream: Readable.from(read(), { objectMode: false }),
    sha256: () => hash.copy().digest("hex"),
  };
}

/**
 * The chunks of a request's body. It is not cancelled when the reader stops early: that would cut the
 * connection before the answer that says why.
 */
async function* chunksOf(body: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array> {
  if (!body) return;
  const reader = body.getReader();
  let late = false;
  const cut = (): void => {
    late = true;
    reader.cancel().catch(() => {});
  };
  const whole = setTimeout(cut, LIMITS.uploadBodyMs);
  try {
    for (;;) {
      const silence = setTimeout(cut, LIMITS.uploadSilenceMs);
      const { done, value } = await reader
        .read()
        .catch((error) => {
          throw new TemperaError("upload_interrupted", undefined, { cause: error });
        })
        .finally(() => clearTimeout(silence));
      if (late) throw new TemperaError("upload_interrupted");
      if (done) return;
      yield value;
    }
  } finally {
    clearTimeout(whole);
  }
}
