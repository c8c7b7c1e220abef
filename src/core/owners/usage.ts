/**
 * Usage is the cost of a request: the units of its model's price, the time on the device, and the attempts
 * that count. The ledger has one entry for each request that ended (a node of a pipeline is a request), also
 * after the request's record is deleted. Workflow code imports this: types and pure functions only.
 */

import type { Json, JsonObject } from "../json/json.ts";
import type { Price } from "../models/model.ts";
import type { JobSpec } from "../requests/job.ts";
import type { Outcome } from "../requests/request.ts";

/** A model without a price: every result is one request that costs nothing. */
const NO_PRICE: Price = { unit: "request", unitPrice: 0, currency: "USD" };

export interface UsageEntry {
  requestId: string;
  /** Request id of the pipeline whose node it was. */
  parentId?: string;
  ownerId: string;
  keyId: string;
  endpoint: string;
  version: string;
  endedAtMs: number;
  ok: boolean;
  /** In `price.unit`; 0 when it gave no output. */
  units: number;
  /** The price at the time of the submit. */
  price: Price;
  /** Seconds of inference of the attempt that produced the output. */
  deviceSeconds: number;
  attempts: number;
  /** The part of `attempts` that is not billed: failed, lost and cancelled ones. */
  attemptsUncounted: number;
}

const UNIT_DIGITS = 1e6;

/** The counting functions of units. For any other unit each result counts 1. */
const COUNTED: Record<string, (output: JsonObject, inferenceSeconds: number) => number> = {
  image: (output) => imagesOf(output).length || 1,
  megapixel: (output) =>
    imagesOf(output).reduce((sum, { width, height }) => sum + (pixels(width) * pixels(height)) / 1e6, 0) || 1,
  second: (_, inferenceSeconds) => inferenceSeconds,
};

const pixels = (side: Json | undefined): number => (typeof side === "number" && side > 0 ? side : 0);
const imagesOf = ({ images, image }: JsonObject): JsonObject[] =>
  (Array.isArray(images) ? images : image === undefined ? [] : [image]).filter(
    (each): each is JsonObject => typeof each === "object" && each !== null && !Array.isArray(each),
  );

/**
 * Counts an output in its model's unit: `image` counts its images, `megapixel` their area, `second` the
 * seconds on the device, anything else (`request`, `video`, …) counts 1. A plural is the same as its
 * singular. The result is rounded to six decimal places.
 *
 *     billableUnits("image", { images: [{}, {}] }, 1.5) // 2
 */
export function billableUnits(unit: string, output: JsonObject, inferenceSeconds: number): number {
  const count = COUNTED[unit.toLowerCase().replace(/s$/, "")];
  return count ? Math.round(count(output, inferenceSeconds) * UNIT_DIGITS) / UNIT_DIGITS : 1;
}

/**
 * Counts an output that this attempt may not have produced itself. An output of another request counts 0. An
 * output of an earlier attempt of the same request, which could not record it, is billed now; its seconds on
 * the device are lost.
 */
export function unitsMade(
  unit: string,
  output: JsonObject,
  { cache, inferenceMs = 0 }: { cache: "hit" | "miss"; inferenceMs?: number },
) {
  return cache === "hit" ? 0 : billableUnits(unit, output, inferenceMs / 1000);
}

/**
 * Returns the units of an outcome: those that its worker counted, 1 for an outcome from before workers
 * counted, 0 for an error.
 */
export function unitsOf(outcome: Outcome): number {
  // A reused result took no inference.
  if (!outcome.ok || outcome.cache === "hit") return 0;
  return outcome.units ?? 1;
}

/**
 * Makes the ledger entry of a job that has ended. The attempt that produced the output counts; failed
 * attempts before it, and all attempts of a job without output, do not. A reused result, which no attempt
 * produced, costs nothing.
 */
export function usageOf({
  job,
  outcome,
  attempts,
  endedAtMs,
}: {
  job: JobSpec;
  outcome: Outcome;
  attempts: number;
  endedAtMs: number;
}): UsageEntry {
  return {
    requestId: job.requestId,
    ...(job.node && { parentId: job.node.pipelineId }),
    ownerId: job.ownerId,
    keyId: job.keyId,
    endpoint: job.endpoint,
    version: job.version,
    endedAtMs,
    ok: outcome.ok,
    units: attempts === 0 ? 0 : unitsOf(outcome),
    price: job.price ?? NO_PRICE,
    deviceSeconds: outcome.metrics.inference_time ?? 0,
    attempts,
    attemptsUncounted: outcome.ok ? Math.max(0, attempts - 1) : attempts,
  };
}
