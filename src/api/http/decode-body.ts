import { promisify } from "node:util";
import { brotliDecompress, gunzip, inflate, inflateRaw } from "node:zlib";
import { TemperaError } from "../../core/errors/tempera-error.ts";

type Decode = (body: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const inflateZlib = promisify(inflate) as Decode;
const inflateBare = promisify(inflateRaw) as Decode;

const DECODERS: Readonly<Record<string, Decode>> = {
  gzip: promisify(gunzip) as Decode,
  // Some clients send the bare data, against RFC 9110 §8.4.1.2. A zlib header begins with the method, 8.
  deflate: (body, options) => (((body[0] ?? 0) & 0x0f) === 8 ? inflateZlib : inflateBare)(body, options),
  br: promisify(brotliDecompress) as Decode,
};

/**
 * Reads the header `Content-Encoding` of a body that is to be parsed: the name for `decodeBody`, or
 * `undefined` for a body that is sent as it is. Throws `content_encoding_unsupported` for any other coding,
 * and for several.
 */
export function bodyCoding(header: string | undefined): string | undefined {
  const name =
    header
      ?.trim()
      .toLowerCase()
      .replace(/^x-gzip$/, "gzip") ?? "";
  if (name === "" || name === "identity") return undefined;
  if (Object.hasOwn(DECODERS, name)) return name;
  throw new TemperaError(
    "content_encoding_unsupported",
    `The body has the content encoding "${name.slice(0, 40)}"; send gzip, deflate or br, or none.`,
  );
}

/**
 * Decodes a whole body. Stops as soon as it has more than `bytesMax` bytes.
 *
 * Resolves with `"too_large"` then. Rejects with `body_not_json` for a body that is not in the coding.
 */
export async function decodeBody(
  body: Buffer,
  coding: string,
  bytesMax: number,
): Promise<Buffer | "too_large"> {
  if (body.length === 0) return body;
  try {
    return (await DECODERS[coding]?.(body, { maxOutputLength: bytesMax })) ?? body;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") return "too_large";
    throw new TemperaError(
      "body_not_json",
      `The body cannot be decoded as ${coding}: ${(error as Error).message}`,
    );
  }
}
