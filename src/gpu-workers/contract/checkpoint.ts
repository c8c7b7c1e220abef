/**
 * A checkpoint of the built-in engines: the state of a run after some step, in a format that names the model
 * version and the input it belongs to.
 *
 * ```
 * "tempera1"  8 bytes
 * n           uint32, little-endian: bytes of the header
 * header      JSON: model, input, step, values, tensors (numbers in each), sha256 of what follows
 * numbers     float32, little-endian, tensor after tensor
 * ```
 */
import { createHash } from "node:crypto";
import type { InputFile } from "../../core/files/input-file.ts";
import { parseJson, writeJson } from "../../core/json/exact-json.ts";
import type { JsonObject } from "../../core/json/json.ts";

/** State that a runner needs to go on, apart from its input. */
export interface RunState {
  /** Steps done, as counted by progress. */
  step: number;
  /** Chosen by the runner: seeds, counters. */
  values: JsonObject;
  /** Chosen by the runner: latents. */
  tensors: Float32Array[];
}

/** Model version and input that a checkpoint belongs to. */
export interface CheckpointOwner {
  /** Digest of the model version. */
  model: string;
  /** Made by `inputDigest`. */
  input: string;
}

const MAGIC = Buffer.from("tempera1");
const HEAD_BYTES = MAGIC.length + 4;

/** SHA-256 in hex over a run's input and the contents of the files that it names. */
export function inputDigest(inputJson: string, files: readonly InputFile[]): string {
  const hash = createHash("sha256").update(inputJson);
  for (const { sha256 } of files) hash.update(`\n${sha256}`);
  return hash.digest("hex");
}

export function encodeCheckpoint(
  { model, input }: CheckpointOwner,
  { step, values, tensors }: RunState,
): Buffer {
  const parts = tensors.map((tensor) => Buffer.from(tensor.buffer, tensor.byteOffset, tensor.byteLength));
  const header = {
    model,
    input,
    step,
    values,
    tensors: tensors.map(({ length }) => length),
    sha256: digestOf(parts),
  };
  const headerBytes = Buffer.from(writeJson(header));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(headerBytes.length);
  return Buffer.concat([MAGIC, length, headerBytes, ...parts]);
}

/**
 * Decodes a checkpoint of this model version and this input.
 *
 * @throws an error whose message continues "The checkpoint …" when the bytes are not one
 */
export function decodeCheckpoint(bytes: Buffer, owner: CheckpointOwner): RunState {
  if (bytes.length < HEAD_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC))
    throw new Error("was not made by this engine");
  const headerEnd = HEAD_BYTES + bytes.readUInt32LE(MAGIC.length);
  const header = headerEnd <= bytes.length ? parseHeader(bytes.subarray(HEAD_BYTES, headerEnd)) : undefined;
  if (!header) throw new Error("is cut short or damaged");
  if (header.model !== owner.model) throw new Error("belongs to another version of the model");
  if (header.input !== owner.input) throw new Error("belongs to another input");
  const numbers = bytes.subarray(headerEnd);
  if (
    numbers.length !== 4 * header.tensors.reduce((sum, length) => sum + length, 0) ||
    digestOf([numbers]) !== header.sha256
  ) {
    throw new Error("is cut short or damaged");
  }
  let offset = 0;
  const tensors = header.tensors.map((length) => {
    // Copied: the bytes may lie at an address that is no multiple of four, and the runner computes in place.
    const tensor = new Float32Array(length);
    numbers.copy(Buffer.from(tensor.buffer), 0, offset, offset + tensor.byteLength);
    offset += tensor.byteLength;
    return tensor;
  });
  return { step: header.step, values: header.values, tensors };
}

interface Header extends CheckpointOwner {
  step: number;
  values: JsonObject;
  tensors: number[];
  sha256: string;
}

function parseHeader(bytes: Buffer): Header | undefined {
  try {
    const header = parseJson<Header>(bytes.toString("utf8"));
    const isHeader =
      Number.isInteger(header.step) &&
      header.step > 0 &&
      typeof header.values === "object" &&
      header.values !== null &&
      Array.isArray(header.tensors) &&
      header.tensors.every((length) => Number.isInteger(length) && length >= 0);
    return isHeader ? header : undefined;
  } catch {
    return undefined;
  }
}

function digestOf(parts: readonly Buffer[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}
