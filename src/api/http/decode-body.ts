import { TemperaError } from "../../core/errors/tempera-error.ts";
import {
  type ContentCoding,
  contentCodingOf,
  decodeContent,
  Undecodable,
} from "../../core/files/content-coding.ts";

/**
 * Reads the header `Content-Encoding` of a body that is to be parsed; `undefined` for a body that is sent as
 * it is. Throws `content_encoding_unsupported` for any other coding, and for several.
 */
export function bodyCoding(header: string | undefined): ContentCoding | undefined {
  const coding = contentCodingOf(header);
  if (coding !== "unsupported") return coding;
  const name = header?.trim().slice(0, 40);
  throw new TemperaError(
    "content_encoding_unsupported",
    `The body has the content encoding "${name}"; send gzip, deflate or br, or none.`,
  );
}

/**
 * Decodes a whole body. Stops as soon as it has more than `bytesMax` bytes, and resolves with `"too_large"`.
 * Rejects with `body_not_json` for a body that is not in the coding, and with what `onBytes` throws.
 *
 * @param onBytes is told how many bytes are decoded, before they are kept
 */
export async function decodeBody(
  body: Buffer,
  coding: ContentCoding,
  { bytesMax, onBytes }: { bytesMax: number; onBytes(bytes: number): void },
): Promise<Buffer | "too_large"> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of decodeContent(asStream(body), coding)) {
      bytes += chunk.length;
      if (bytes > bytesMax) return "too_large";
      onBytes(bytes);
      chunks.push(chunk);
    }
  } catch (error) {
    if (!(error instanceof Undecodable)) throw error;
    throw new TemperaError("body_not_json", `The body ${error.message}.`, { cause: error });
  }
  return Buffer.concat(chunks);
}

async function* asStream(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}
