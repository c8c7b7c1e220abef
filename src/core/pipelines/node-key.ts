/**
 * A node key identifies the result of a node: a hash of its owner and of everything that decides the result.
 * Two nodes with one key are the same call, so the result of either serves both.
 */
import { createHash } from "node:crypto";
import type { InputFile } from "../files/input-file.ts";
import type { Lifecycle } from "../files/lifecycle.ts";
import { canonicalJson } from "../json/input-hash.ts";
import type { Json, JsonObject } from "../json/json.ts";

export interface NodeCall {
  /** Results are never shared between owners. */
  ownerId: string;
  endpoint: string;
  /** Digest of the model version: its manifest, schemas and weights. */
  modelDigest: string;
  /** The engine program and the kind of inference it runs: `onnx/text-to-image`. */
  runner: string;
  /** The input that the engine gets: with defaults and seed, and each file as `attachment:<index>`. */
  input: JsonObject;
  /** Those files, in that order. A file counts by its bytes, not by its URL. */
  files: readonly Pick<InputFile, "sha256" | "contentType">[];
  /**
   * A file that is kept for a day, or that few may read, is not the same result as a public, permanent one.
   */
  lifecycle?: Lifecycle;
}

/** Returns the SHA-256 of the call, hex. */
export function nodeKey({
  ownerId,
  endpoint,
  modelDigest,
  runner,
  input,
  files,
  lifecycle,
}: NodeCall): string {
  return createHash("sha256")
    .update(
      canonicalJson([
        // Version of the key's form: another form must begin with another number.
        1,
        ownerId,
        endpoint,
        modelDigest,
        runner,
        input,
        files.map(({ sha256, contentType }) => [sha256, contentType]),
        (lifecycle ?? null) as Json,
      ]),
    )
    .digest("hex");
}
