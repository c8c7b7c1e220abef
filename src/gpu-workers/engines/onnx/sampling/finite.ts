import { TemperaError } from "../../../../core/errors/tempera-error.ts";

/**
 * Tells whether all numbers are finite, by their sum: it stays finite only while all its parts are, and a sum
 * of float32 numbers cannot overflow a double.
 */
export function allFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ?? 0;
  return Number.isFinite(sum);
}

/**
 * Throws `runner_server_error` for a decoder's result that holds NaN or infinity: it would pass for a black
 * image, or for silence.
 */
export function assertFinite(values: Float32Array): void {
  if (!allFinite(values))
    throw new TemperaError("runner_server_error", "The decoder gave numbers that are not finite.");
}
