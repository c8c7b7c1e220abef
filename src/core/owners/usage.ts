/**
 * Usage is what a request cost: how many units of its model's price, how long it held a device, which of its
 * attempts count. The ledger has one entry for each request that ended (a node of a pipeline is a request),
 * and keeps it when the request's own record is deleted. Imported by workflow code: types and pure functions
 * only.
 */

import type { Json, JsonObject } from "../json/json.ts";
import type { Price } from "../models/model.ts";
import type { JobSpec } from "../requests/job.ts";
import type { Outcome } from "../requests/request.ts";

/** A model without a price: every result is one request that costs nothing. */
const NO_PRICE: Price = { unit: "request", unitPrice: 0, currency: "USD" };

export interface UsageEntry {
  requestId: string;
  /** The pipeline whose node it was. */
  parentId?: string;
  ownerId: string;
  keyId: string;
  endpoint: string;
  version: string;
  endedAtMs: number;
  ok: boolean;
  /** In `price.unit`; 0 when it gave no output. */
  units: number;
  /** As it was at submit. */
  price: Price;
  /** Seconds of inference of the attempt that gave the output. */
  deviceSeconds: number;
  attempts: number;
  /** Of those, the ones that nobody pays for: what failed, was lost or was cancelled. */
  attemptsUncounted: number;
}

const UNIT_DIGITS = 1e6;

/** How a price's unit is counted. A unit that is not here counts results: one each. */
const COUNTED: Record<string, (output: JsonObject, inferenceSeconds: number) => number> = {
  image: (output) => picturesOf(output).length || 1,
  megapixel: (output) =>
    picturesOf(output).reduce((sum, { width, height }) => sum + (pixels(width) * pixels(height)) / 1e6, 0) ||
    1,
  second: (_, inferenceSeconds) => inferenceSeconds,
};

const pixels = (side: Json | undefined): number => (typeof side === "number" && side > 0 ? side : 0);
const picturesOf = ({ images, image }: JsonObject): JsonObject[] =>
  (Array.isArray(images) ? images : image === undefined ? [] : [image]).filter(
    (each): each is JsonObject => typeof each === "object" && each !== null && !Array.isArray(each),
  );

/**
 * What an output counts in its model's unit: `image` its pictures, `megapixel` their area, `second` the
 * seconds on the device, anything else (`request`, `video`, …) 1. A plural counts like its singular. To six
 * decimal places.
 *
 *     billableUnits("image", { images: [{}, {}] }, 1.5) // 2
 */
export function billableUnits(unit: string, output: JsonObject, inferenceSeconds: number): number {
  const count = COUNTED[unit.toLowerCase().replace(/s$/, "")];
  return count ? Math.round(count(output, inferenceSeconds) * UNIT_DIGITS) / UNIT_DIGITS : 1;
}

/**
 * The same for an output that need not have been made by this attempt. One that another request made counts
 * nothing; what an earlier attempt of the same request made, and could not record any more, is billed now,
 * its seconds on the device being lost.
 */
export const unitsMade = (
  unit: string,
  output: JsonObject,
  { cache, inferenceMs = 0 }: { cache: "hit" | "miss"; inferenceMs?: number },
) => (cache === "hit" ? 0 : billableUnits(unit, output, inferenceMs / 1000));

/**
 * The units of an outcome: those its worker counted, 1 for one that was made before workers counted, 0 for an
 * error.
 */
export const unitsOf = (outcome: Outcome): number => {
  // Nothing was run for a result that is an earlier one.
  if (!outcome.ok || outcome.cache === "hit") return 0;
  return outcome.units ?? 1;
};

/**
 * The ledger's entry of a job that has ended. The attempt that gave the output counts; the failed ones before
 * it, and all of a job without output, do not. A result that no attempt made, because an earlier one stood in
 * for it, costs nothing.
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
