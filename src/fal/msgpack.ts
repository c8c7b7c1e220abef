/**
 * Frames of realtime sessions (contract §5.3), as msgpack or JSON: JSON's values, and bytes. A frame is read
 * in two passes. The first only walks over it, so that a frame whose few bytes announce billions of items, or
 * lists nested without end, costs nothing.
 */
import { decode, encode } from "@msgpack/msgpack";
import { hasLargeNumber, JsonNumberFault, parseJson, writeJson } from "../core/json/exact-json.ts";
import { type JsonBounds, jsonExcess } from "../core/json/json-bounds.ts";
import { LIMITS } from "../core/limits.ts";

/** A value in a frame: JSON, or bytes. */
export type FrameValue =
  | string
  | number
  | bigint
  | boolean
  | null
  | Uint8Array
  | FrameValue[]
  | { [key: string]: FrameValue };
export type FrameObject = { [key: string]: FrameValue };

/** Thrown when bytes or a text are not a valid frame. The message is for the caller. */
export class FrameFault extends Error {}

/**
 * Reads one msgpack object. Throws a `FrameFault` that names the reason: not msgpack, truncated, trailing
 * bytes, nested too deeply, an extension type, a number that JSON does not have, a key that is not a string,
 * or a top-level value that is not an object.
 */
export function decodeFrame(bytes: Uint8Array): FrameObject {
  const { hasLongIntegers } = walk(bytes);
  let value: unknown;
  try {
    value = decode(bytes, { useBigInt64: hasLongIntegers });
  } catch (error) {
    throw new FrameFault(`The frame is not msgpack: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw new FrameFault("The frame is not an object.");
  }
  return hasLongIntegers ? (mapScalars(value as FrameObject, narrow) as FrameObject) : (value as FrameObject);
}

/** Weight of a byte of a byte string, which is only copied. */
const COPIED_BYTE_WEIGHT = 1 / 128;

const FRAME_BOUNDS: JsonBounds = {
  depthMax: LIMITS.inputDepthMax,
  valuesMax: LIMITS.frameValuesMax,
  fieldsMax: LIMITS.inputFieldsMax,
};

/**
 * Tells whether a frame weighs `LIMITS.frameTurnBytesMin` bytes or more. Those of byte strings, such as an
 * image, have a small part of the weight of others. It looks no further than that: a frame with a fault
 * before it is light.
 */
export function isHeavyFrame(bytes: Uint8Array): boolean {
  if (bytes.length < LIMITS.frameTurnBytesMin) return false;
  try {
    return walk(bytes, LIMITS.frameTurnBytesMin).isHeavy;
  } catch (error) {
    if (error instanceof FrameFault) return false;
    throw error;
  }
}

/**
 * Encodes an object as msgpack. Fields that are `undefined` are left out. Throws a `FrameFault` for an
 * integer of more than 64 bits, which msgpack does not have.
 */
export function encodeFrame(value: FrameObject): Uint8Array {
  if (!hasLargeNumber(value)) return encode(value, { ignoreUndefined: true });
  return encode(mapScalars(value, widen), { ignoreUndefined: true, useBigInt64: true });
}

/** Encodes an object as JSON, with bytes as base64, for a client that sends JSON. */
export function frameJson(value: FrameObject): string {
  return writeJson(
    mapScalars(value, (item) =>
      item instanceof Uint8Array
        ? Buffer.from(item.buffer, item.byteOffset, item.length).toString("base64")
        : item,
    ),
  );
}

/** The decoder gives all integers of its 64-bit types as `bigint`, small ones too. */
const narrow = (value: FrameValue): FrameValue =>
  typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;

/** The encoder writes integers of more than 32 bits as floats where it accepts `bigint`s. */
function widen(value: FrameValue): FrameValue {
  if (typeof value === "bigint" && (value >= 2n ** 64n || value < -(2n ** 63n)))
    throw new FrameFault("The frame has an integer of more than 64 bits, which msgpack cannot hold.");
  return Number.isSafeInteger(value) && Math.abs(Number(value)) > 0x7fffffff ? BigInt(Number(value)) : value;
}

/** Copies a value with everything but lists and objects changed. */
function mapScalars(value: FrameValue, change: (scalar: FrameValue) => FrameValue): FrameValue {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return change(value);
  if (Array.isArray(value)) return value.map((item) => mapScalars(item, change));
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, mapScalars(item, change)]));
}

/**
 * Reads one JSON object within the bounds of `decodeFrame` and at most `LIMITS.textFrameCharactersMax`
 * characters. Throws a `FrameFault`.
 */
export function decodeJsonFrame(text: string): FrameObject {
  if (text.length > LIMITS.textFrameCharactersMax) {
    const most = LIMITS.textFrameCharactersMax.toLocaleString("en-US");
    throw new FrameFault(
      `The frame has more than ${most} characters; send it as msgpack, with bytes as bytes.`,
    );
  }
  const excess = jsonExcess(text, FRAME_BOUNDS);
  if (excess) throw excess === "depth" ? tooDeep() : tooMany(excess);
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (error) {
    const fault = error instanceof JsonNumberFault ? "cannot be read" : "is not JSON";
    throw new FrameFault(`The frame ${fault}: ${(error as Error).message}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new FrameFault("The frame is not an object.");
  return value as FrameObject;
}

const tooDeep = (): FrameFault =>
  new FrameFault(`The frame is nested deeper than ${LIMITS.inputDepthMax} levels.`);
const tooMany = (things: "values" | "fields"): FrameFault => {
  const most = things === "values" ? FRAME_BOUNDS.valuesMax : FRAME_BOUNDS.fieldsMax;
  return new FrameFault(`The frame has more than ${most.toLocaleString("en-US")} ${things}.`);
};

/** The payload bytes of each fixed-size type, from 0xca (float 32) to 0xd3 (int 64). */
const NUMBER_BYTES = [4, 8, 1, 2, 4, 8, 1, 2, 4, 8];

/**
 * Walks over exactly one value, and tells whether it has integers of a 64-bit type. Throws a `FrameFault`
 * when the bytes are anything else.
 *
 * @param heavyBytes weight after which the walk ends
 */
function walk(
  bytes: Uint8Array,
  heavyBytes = Number.POSITIVE_INFINITY,
): { hasLongIntegers: boolean; isHeavy: boolean } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const take = (count: number): number => {
    const start = at;
    at += count;
    if (at > bytes.length) throw new FrameFault("The frame is cut off.");
    return start;
  };
  /** Reads an unsigned length of 1, 2 or 4 bytes. */
  const length = (size: number): number => {
    const start = take(size);
    return size === 1 ? view.getUint8(start) : size === 2 ? view.getUint16(start) : view.getUint32(start);
  };
  /** The number of values still expected at each open level. In a map every other one is a key. */
  const open: { left: number; map: boolean }[] = [];
  let values = 0;
  let fields = 0;
  let hasLongIntegers = false;
  let weightless = 0;
  const enter = (count: number, map: boolean): void => {
    if (count === 0) return;
    if (open.length >= LIMITS.inputDepthMax) throw tooDeep();
    open.push({ left: map ? count * 2 : count, map });
  };

  do {
    const level = open.at(-1);
    const isKey = level?.map === true && level.left % 2 === 0;
    if (level) level.left--;
    const head = view.getUint8(take(1));
    const isText = (head >= 0xa0 && head <= 0xbf) || (head >= 0xd9 && head <= 0xdb);
    if (isKey && ++fields > FRAME_BOUNDS.fieldsMax) throw tooMany("fields");
    if (!isKey && ++values > FRAME_BOUNDS.valuesMax) throw tooMany("values");
    if (isKey && !isText) throw new FrameFault("The frame has a key that is not a string.");
    if (head <= 0x7f || head >= 0xe0 || head === 0xc0 || head === 0xc2 || head === 0xc3) {
      // A small number, null, false or true: nothing follows.
    } else if (head <= 0x8f) enter(head & 0x0f, true);
    else if (head <= 0x9f) enter(head & 0x0f, false);
    else if (head <= 0xbf) take(head & 0x1f);
    else if (head >= 0xc4 && head <= 0xc6) {
      const size = length(1 << (head - 0xc4));
      take(size);
      weightless += size * (1 - COPIED_BYTE_WEIGHT);
    } else if (head === 0xca || head === 0xcb) {
      const start = take(head === 0xca ? 4 : 8);
      const number = head === 0xca ? view.getFloat32(start) : view.getFloat64(start);
      if (!Number.isFinite(number)) throw new FrameFault("The frame has a number that is not finite.");
    } else if (head >= 0xcc && head <= 0xd3) {
      hasLongIntegers ||= head === 0xcf || head === 0xd3;
      take(NUMBER_BYTES[head - 0xca] ?? 0);
    } else if (head >= 0xd9 && head <= 0xdb) take(length(1 << (head - 0xd9)));
    else if (head === 0xdc || head === 0xdd) enter(length(head === 0xdc ? 2 : 4), false);
    else if (head === 0xde || head === 0xdf) enter(length(head === 0xde ? 2 : 4), true);
    else
      throw new FrameFault(
        "The frame has an extension type or a reserved one; send only JSON's values and bytes.",
      );
    if (at - weightless >= heavyBytes) return { hasLongIntegers, isHeavy: true };
    while (open.at(-1)?.left === 0) open.pop();
  } while (open.length > 0);
  if (at !== bytes.length)
    throw new FrameFault("The frame has more bytes after its first value; send one object per frame.");
  return { hasLongIntegers, isHeavy: false };
}
