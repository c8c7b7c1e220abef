/** Fields that the manifests and the inputs of several model kinds share, and their validation. */
import { z } from "zod";
import { TemperaError } from "../../../../core/errors/tempera-error.ts";
import type { JsonObject } from "../../../../core/json/json.ts";

/** A side of an image in pixels. */
export const PixelSide = z.int().min(16).max(16384);

export const PixelSize = z.object({ width: PixelSide, height: PixelSide });

/** CPU threads of each network. Fixed, so that the same seed gives the same bytes. */
export const Threads = z.int().min(1).max(64).default(2);

/** Tokens of a prompt, special ones included; longer prompts are cut, shorter ones padded. */
export const TextTokensMax = z.int().min(2);

/**
 * fal's seed: any integer, also one that a double holds only roughly, taken modulo 2⁶⁴. One is drawn when it
 * is null or left out.
 */
export const Seed = z.number().refine(Number.isInteger, "Input should be a valid integer").nullish();

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
