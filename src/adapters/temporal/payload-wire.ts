/**
 * The protobuf encoding of Temporal's `Payload` message, `map<string, bytes> metadata = 1; bytes data = 2`.
 * It is written by hand, since the generated package cannot be imported by name from ES modules.
 */
import type { Payload } from "@temporalio/common";

const METADATA = 1;
const DATA = 2;
const KEY = 1;
const VALUE = 2;
/** Protobuf's wire types. */
const VARINT = 0;
const FIXED_64 = 1;
const BYTES = 2;
const FIXED_32 = 5;

export function encodePayload({ metadata, data }: Payload): Buffer {
  const entries = Object.entries(metadata ?? {}).map(([key, value]) =>
    field(METADATA, Buffer.concat([field(KEY, Buffer.from(key)), field(VALUE, value ?? new Uint8Array())])),
  );
  return Buffer.concat([...entries, ...(data ? [field(DATA, data)] : [])]);
}

/** Decodes the message. Throws a `RangeError` for bytes that are no such message. */
export function decodePayload(bytes: Uint8Array): Payload {
  const metadata: Record<string, Uint8Array> = {};
  let data: Uint8Array | undefined;
  for (const { number, value } of fieldsOf(bytes)) {
    if (number === DATA) data = value;
    if (number !== METADATA) continue;
    const entry = new Map([...fieldsOf(value)].map((each) => [each.number, each.value]));
    metadata[Buffer.from(entry.get(KEY) ?? []).toString()] = entry.get(VALUE) ?? new Uint8Array();
  }
  return { metadata, ...(data && { data }) };
}

const field = (number: number, value: Uint8Array): Buffer =>
  Buffer.concat([varint((number << 3) | BYTES), varint(value.length), value]);

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 128);
  }
}

/** Yields the fields that hold bytes, and skips others. */
function* fieldsOf(bytes: Uint8Array): Generator<{ number: number; value: Uint8Array }> {
  let at = 0;
  const read = (): number => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      const byte = bytes[at++];
      if (byte === undefined || scale > 2 ** 49) throw new RangeError("the payload is incomplete");
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const tag = read();
    const type = tag % 8;
    if (type === VARINT) read();
    else if (type === BYTES || type === FIXED_64 || type === FIXED_32) {
      const length = type === BYTES ? read() : type === FIXED_64 ? 8 : 4;
      const value = bytes.subarray(at, at + length);
      if (value.length < length) throw new RangeError("the payload is incomplete");
      at += length;
      if (type === BYTES) yield { number: Math.floor(tag / 8), value };
    } else throw new RangeError(`the payload has a field of the unknown type ${type}`);
  }
}
