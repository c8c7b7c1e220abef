import { createHash } from "node:crypto";
import { Readable } from "node:stream";
import type { Context } from "hono";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import { type ContentCoding, contentCodingOf } from "../../core/files/content-coding.ts";
import { LIMITS } from "../../core/limits.ts";
import { bodyCoding } from "../http/decode-body.ts";

export interface UploadBody {
  /** The announced length; the stream has exactly as many bytes. */
  bytes: number;
  /**
   * Fails with `upload_interrupted` when the caller disconnects, sends nothing for `LIMITS.uploadSilenceMs`,
   * or takes longer than `LIMITS.uploadBodyMs`.
   */
  stream: Readable;
  /** Gives the hex digest of the bytes that were read so far. */
  sha256(): string;
}

/**
 * Reads the content coding of an upload. Its bytes are kept as they are sent, as object stores do, and the
 * coding is announced when they are read. Throws `content_encoding_unsupported`.
 */
export function uploadCoding(c: Context): ContentCoding | undefined {
  const header = c.req.header("content-encoding");
  if (bodyCoding(header) === undefined) return undefined;
  const coding = contentCodingOf(header);
  return coding === "unsupported" ? undefined : coding;
}

/** Refuses a part in a content coding: parts are joined, and codings are not. */
export function assertUncoded(c: Context): void {
  if (uploadCoding(c) !== undefined)
    throw new TemperaError(
      "content_encoding_unsupported",
      "A file in parts is kept without a content encoding; send its parts as they are.",
    );
}

/**
 * Streams the body of an upload without buffering. Throws `length_required`, or `body_too_large` before any
 * byte is read.
 *
 * @param bytesMax the greatest accepted length
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
 * Reads the chunks of a request's body. An early stop of the consumer does not cancel it: that would cut the
 * connection before the answer with the error.
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
