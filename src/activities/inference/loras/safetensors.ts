import { open } from "node:fs/promises";
import { parseJson } from "../../../core/json/exact-json.ts";
import { isObject, type Json } from "../../../core/json/json.ts";
import { jsonExcess } from "../../../core/json/json-bounds.ts";

/** Bytes of the length that comes before the header. */
const LENGTH_BYTES = 8;
/**
 * Bounds of a header: LoRA weights of the largest models have two thousand tensors with four fields each. A
 * larger one would hold the worker's event loop while it is parsed.
 */
const HEADER_BYTES_MAX = 1024 * 1024;
const HEADER_BOUNDS = { depthMax: 4, valuesMax: 100_000, fieldsMax: 25_000 };

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
  const text = (await read(Number(length), LENGTH_BYTES)).toString("utf8");
  const excess = jsonExcess(text, HEADER_BOUNDS);
  if (excess) return `has a header with too many ${excess === "depth" ? "levels" : excess}`;
  const header = headerOf(text);
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
