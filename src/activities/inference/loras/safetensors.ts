import { open } from "node:fs/promises";
import { parseJson } from "../../../core/json/exact-json.ts";
import { isObject, type Json } from "../../../core/json/json.ts";

/** Bytes of the length that comes before the header. */
const LENGTH_BYTES = 8;
/** Bytes of a header: LoRA weights of the largest models have some thousand tensors. */
const HEADER_BYTES_MAX = 4 * 1024 * 1024;

/**
 * Checks that a file has the safetensors format and is whole: a header in JSON whose tensors lie within the
 * file. Other formats of weights can run code when they are read.
 *
 * @param bytes size of the file
 * @returns the reason why it is none, as a predicate; `undefined` when it is one
 */
export async function safetensorsFault(path: string, bytes: number): Promise<string | undefined> {
  await using file = await open(path);
  const read = async (length: number, position: number): Promise<Buffer> =>
    (await file.read(Buffer.alloc(length), 0, length, position)).buffer;
  if (bytes < LENGTH_BYTES) return "is no safetensors file";
  const length = (await read(LENGTH_BYTES, 0)).readBigUInt64LE();
  if (length > BigInt(bytes - LENGTH_BYTES)) return "is no safetensors file, or is cut short";
  if (length > BigInt(HEADER_BYTES_MAX)) return `has a header of more than ${HEADER_BYTES_MAX} bytes`;
  const header = headerOf((await read(Number(length), LENGTH_BYTES)).toString("utf8"));
  if (!isObject(header)) return "is no safetensors file";
  const dataBytes = bytes - LENGTH_BYTES - Number(length);
  let end = 0;
  for (const [name, tensor] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = offsetsOf(tensor as Json);
    if (from === undefined || to === undefined || from > to) return "has a header that cannot be read";
    end = Math.max(end, to);
  }
  return end === dataBytes ? undefined : `has ${dataBytes} bytes of tensors where ${end} were announced`;
}

function headerOf(text: string): Json | undefined {
  try {
    return parseJson(text) as Json;
  } catch {
    return undefined;
  }
}

function offsetsOf(tensor: Json): (number | undefined)[] {
  const offsets = isObject(tensor) ? tensor.data_offsets : undefined;
  const isOffset = (value: Json): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
  return Array.isArray(offsets) && offsets.length === 2 && offsets.every(isOffset) ? offsets : [];
}
