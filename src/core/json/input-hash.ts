/**
 * An input hash tells two inputs apart: SHA-256 over their canonical JSON, in hex. It is computed in
 * JavaScript, because workflow code compares the inputs of nodes and cannot load `node:crypto`.
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import { writeJson } from "./exact-json.ts";
import type { Json } from "./json.ts";

/** Writes JSON with the fields of every object sorted, so that equal values are equal texts. */
export function canonicalJson(value: Json): string {
  if (typeof value !== "object" || value === null) return writeJson(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const fields = Object.keys(value)
    .sort()
    .filter((name) => value[name] !== undefined)
    .map((name) => `${writeJson(name)}:${canonicalJson(value[name] as Json)}`);
  return `{${fields.join(",")}}`;
}

/** `inputHash({ b: 1, a: 2 }) === inputHash({ a: 2, b: 1 })` */
export function inputHash(input: Json): string {
  return bytesToHex(sha256(utf8ToBytes(canonicalJson(input))));
}
