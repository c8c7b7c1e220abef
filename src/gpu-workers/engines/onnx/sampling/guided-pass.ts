/**
 * A pass of a transformer with classifier-free guidance, for several items at once: each is one row of the
 * network, or two when it is guided.
 */

import type { NetworkRow, RowPass } from "../runtime/network-rows.ts";
import type { Feed } from "../runtime/onnx-session.ts";
import type { GuidanceRescale, LatentShape } from "./guidance.ts";
import { guide } from "./guidance.ts";

/** One item as the network sees it at one step. All items of a pass have one shape. */
export interface GuidedItem {
  /** The network's input `latents`, without the batch. */
  latents: Feed;
  /** The noise level, 0..1; the network's timestep is 1000 times that. */
  sigma: number;
  /**
   * The network's other inputs: of the prompt, then of the negative prompt. The second one is ignored without
   * guidance.
   */
  conditions: readonly NetworkRow[];
  guidanceScale: number;
  /** Shape of the velocity. */
  shape: LatentShape;
}

/**
 * Tells whether an item needs a second row. Guidance of 1 is the conditional prediction itself, so the second
 * row would be thrown away.
 */
export function isGuided(guidanceScale: number): boolean {
  return guidanceScale > 1;
}

/** Gives the guided velocity of each item, in order: the same bits whatever other items share the pass. */
export async function guidedVelocities(
  pass: RowPass,
  items: readonly GuidedItem[],
  rescale: GuidanceRescale = "none",
): Promise<Float32Array[]> {
  const outputs = await pass(
    items.flatMap(({ latents, sigma, conditions, guidanceScale }) =>
      conditions.slice(0, isGuided(guidanceScale) ? 2 : 1).map((condition) => ({
        latents,
        timestep: { data: Float32Array.of(sigma * 1000), shape: [] },
        ...condition,
      })),
    ),
  );
  let row = 0;
  return items.map(({ guidanceScale, shape }) => {
    const conditional = outputs[row++] as Float32Array;
    return isGuided(guidanceScale)
      ? guide(conditional, outputs[row++] as Float32Array, guidanceScale, rescale, shape)
      : conditional;
  });
}
