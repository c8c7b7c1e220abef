/**
 * What the result of a node is remembered under: everything that decides it, and whose it is. Two nodes of
 * one key are the same call, so the result of either is the result of both.
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
  /** Of the model version: its manifest, schemas and weights. */
  modelDigest: string;
  /** The engine program and the kind of inference it runs: `onnx/text-to-image`. */
  runner: string;
  /** As the engine is given it: with its defaults and its seed, and each file as `attachment:<index>`. */
  input: JsonObject;
  /** Those files, in that order. A file counts by its bytes, wherever it was fetched from. */
  files: readonly Pick<InputFile, "sha256" | "contentType">[];
  /**
   * A file that is kept for a day, or shown to few, is not the same result as one that everybody sees for
   * ever.
   */
  lifecycle?: Lifecycle;
}

/** sha256, hex. */
export const nodeKey = ({
  ownerId,
  endpoint,
  modelDigest,
  runner,
  input,
  files,
  lifecycle,
}: NodeCall): string =>
  createHash("sha256")
    .update(
      canonicalJson([
        // Of this form of a key: another form must begin with another number.
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
