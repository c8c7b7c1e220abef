/** Fields that the manifests and the inputs of several model kinds share, and their validation. */
import { z } from "zod";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../../../core/json/json.ts";

/** A side of an image in pixels. */
export const PixelSide = z.int().min(16).max(16384);

export const PixelSize = z.object({ width: PixelSide, height: PixelSide });

/** CPU threads of each network. Fixed, so that the same seed gives the same bytes. */
export const Threads = z.int().min(1).max(64).default(2);

/** Score from 0 to 1 above which the safety checker takes an image for unsafe. */
export const SafetyThreshold = z.number().gt(0).lt(1).default(0.5);

/** Tokens of a prompt, special ones included; longer prompts are cut, shorter ones padded. */
export const TextTokensMax = z.int().min(2);

/**
 * The seed of a run: any integer of 64 bits, with or without a sign, as torch takes it. One is drawn when it
 * is null or left out. A larger one would make the same as another seed, so it is refused.
 */
export const Seed = z
  .custom<number | bigint>(isSeed, `Input should be an integer from ${-(2n ** 63n)} to ${2n ** 64n - 1n}`)
  .nullish();

/** Tells whether a value, of an input or of a checkpoint, is a seed. */
export function isSeed(value: unknown): value is number | bigint {
  if (typeof value !== "bigint" && !Number.isInteger(value)) return false;
  return (value as number | bigint) >= -(2n ** 63n) && (value as number | bigint) < 2n ** 64n;
}

/** @throws an error that names every wrong field: the model cannot be loaded */
export function parseParameters<S extends z.ZodType>(schema: S, parameters: JsonObject): z.infer<S> {
  const checked = schema.safeParse(parameters);
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
  throw new Error(`parameters of model.yaml: ${faults.join("; ")}`);
}

/** @throws `input_invalid` with every fault: the model's schema let through what the runner cannot take */
export function parseInput<S extends z.ZodType>(schema: S, raw: JsonObject): z.infer<S> {
  const checked = schema.safeParse(raw);
  if (checked.success) return checked.data;
  const faults = checked.error.issues.map(({ path, message }) => ({
    loc: ["body", ...path.map((part) => (typeof part === "number" ? part : String(part)))],
    msg: message,
    type: "value_error",
  }));
  throw new TemperaError("input_invalid", undefined, { faults });
}
