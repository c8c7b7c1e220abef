import { Readable } from "node:stream";
import { TemperaError } from "../../core/errors/tempera-error.ts";
import type { Download } from "../../core/operations/guarded-http.ts";

/**
 * Decodes `data:[<type>][;base64],<data>` (RFC 2397). The URI is in memory already, within the limit of a
 * request body. Base64 is decoded as browsers and Python do: white space in it is dropped, since many
 * encoders wrap lines, and its padding may be missing.
 *
 * Throws `file_download_error` for a malformed or empty URI, and `file_too_large`.
 */
export function decodeDataUri(url: string, bytesMax: number): Download {
  const comma = url.indexOf(",");
  const head = url.slice("data:".length, comma);
  if (comma < 0 || head.length > 200)
    throw malformed("The data URI has no comma between its type and its data.");
  const base64 = BASE64.test(head);
  const data = url.slice(comma + 1);
  const bytes = base64 ? fromBase64(data, bytesMax) : fromPercent(data);
  if (bytes.length > bytesMax) throw new TemperaError("file_too_large");
  if (bytes.length === 0) throw malformed("The data URI has no data after its comma.");
  const contentType = head.replace(BASE64, "").trim() || "text/plain;charset=US-ASCII";
  return { contentType, body: Readable.from([bytes], { objectMode: false }) };
}

const BASE64 = /; *base64\s*$/i;

const malformed = (why: string): TemperaError => new TemperaError("file_download_error", why);

function fromBase64(data: string, bytesMax: number): Buffer {
  const unescaped = data.includes("%") ? fromPercent(data).toString("latin1") : data;
  const text = unescaped.replace(/[\t\n\f\r ]+/g, "");
  if (!/^[A-Za-z0-9+/_-]*={0,2}$/.test(text)) throw malformed("The data URI is not base64.");
  const digits = text.replace(/=+$/, "").length;
  if (digits % 4 === 1) throw malformed("The base64 of the data URI is cut off.");
  if (Math.floor((digits * 3) / 4) > bytesMax) throw new TemperaError("file_too_large");
  return Buffer.from(text, "base64");
}

/** Decodes each `%XX` to one byte, also within a character; other characters are their UTF-8. */
function fromPercent(data: string): Buffer {
  if (/%(?![0-9a-f]{2})/i.test(data)) {
    throw malformed("The data URI has a % that is not followed by two hexadecimal digits.");
  }
  const text = Buffer.from(data);
  let end = 0;
  for (let i = 0; i < text.length; i++) {
    const byte = text[i] as number;
    text[end++] = byte === 0x25 ? 16 * hexDigit(text[++i] as number) + hexDigit(text[++i] as number) : byte;
  }
  return text.subarray(0, end);
}

const hexDigit = (code: number): number => (code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x57);
