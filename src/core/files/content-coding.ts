/** Content codings (RFC 9110 §8.4.1) of files that are fetched: the bytes that count are the decoded ones. */
import { type Duplex, pipeline, Readable } from "node:stream";
import { createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from "node:zlib";

const CODINGS = ["gzip", "deflate", "br"] as const;
export type ContentCoding = (typeof CODINGS)[number];

/** The codings that are decoded, as a value of `Accept-Encoding`. */
export const ACCEPTED_CODINGS = CODINGS.join(", ");

/** Names that stand for the bytes as they are; `aws-chunked` is left over from signed uploads to S3. */
const PLAIN = ["", "identity", "aws-chunked"];

/**
 * Reads a header `Content-Encoding`: a coding that can be decoded, `undefined` for bytes that are sent as
 * they are, or `"unsupported"` for any other and for several.
 */
export function contentCodingOf(header: string | undefined): ContentCoding | "unsupported" | undefined {
  const name =
    header
      ?.trim()
      .toLowerCase()
      .replace(/^x-gzip$/, "gzip") ?? "";
  if (PLAIN.includes(name)) return undefined;
  return CODINGS.find((coding) => coding === name) ?? "unsupported";
}

/** Thrown for bytes that are not in their coding. */
export class Undecodable extends Error {
  constructor(coding: ContentCoding, cause: unknown) {
    super(`cannot be decoded as ${coding}`, { cause });
  }
}

/**
 * Decodes the bytes of a file as they are read, at most some KiB ahead of their reader, who bounds them.
 *
 * Throws `Undecodable`, and the errors of `body`.
 */
export async function* decodeContent(
  body: AsyncIterable<Buffer>,
  coding: ContentCoding,
): AsyncGenerator<Buffer> {
  const chunks = body[Symbol.asyncIterator]();
  let first = await chunks.next();
  while (!first.done && first.value.length === 0) first = await chunks.next();
  if (first.done) return;
  const beginning = first.value;
  let failed: { error: unknown } | undefined;
  const source = Readable.from(
    (async function* () {
      try {
        yield beginning;
        yield* { [Symbol.asyncIterator]: () => chunks };
      } catch (error) {
        failed = { error };
        throw error;
      }
    })(),
    { objectMode: false },
  );
  const decoder = pipeline(source, decoderOf(coding, beginning), () => {});
  try {
    yield* decoder as AsyncIterable<Buffer>;
  } catch (error) {
    throw failed ? failed.error : new Undecodable(coding, error);
  } finally {
    decoder.destroy();
    source.destroy();
  }
}

function decoderOf(coding: ContentCoding, beginning: Buffer): Duplex {
  switch (coding) {
    case "gzip":
      return createGunzip();
    case "br":
      return createBrotliDecompress();
    case "deflate":
      // Some servers send the bare data, against RFC 9110 §8.4.1.2. A zlib header begins with the method, 8.
      return ((beginning[0] ?? 0) & 0x0f) === 8 ? createInflate() : createInflateRaw();
  }
}
