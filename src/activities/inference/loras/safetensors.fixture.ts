import { writeJson } from "../../../core/json/exact-json.ts";

/** Makes a file in the safetensors format for tests: tensors of zeros, each with so many bytes. */
export function safetensors(tensors: Record<string, number>): Buffer {
  let at = 0;
  const header = Object.entries(tensors).map(([name, bytes]) => {
    const data_offsets = [at, at + bytes];
    at += bytes;
    return [name, { dtype: "F32", shape: [bytes / 4], data_offsets }];
  });
  return Buffer.concat([headed(writeJson(Object.fromEntries(header))), Buffer.alloc(at)]);
}

/** Makes the beginning of such a file: the length of the header, and the header. */
export function headed(header: string): Buffer {
  const text = Buffer.from(header);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([length, text]);
}
