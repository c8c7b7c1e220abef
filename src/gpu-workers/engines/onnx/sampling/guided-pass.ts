/**
 * A pass of a transformer with classifier-free guidance, for several items at once: each is one row of the
 * network, or two when it is guided.
 */
import type { GuidanceRescale, LatentShape } from "./guidance.ts";
import { guide } from "./guidance.ts";
import type { NetworkRow, RowPass } from "../runtime/network-rows.ts";
import type { Feed } from "../runtime/onnx-session.ts";

/** One item as the network sees it at one step. All of a pass are of one shape. */
export interface GuidedItem {
  /** What the network calls so, without the batch. */
  latents: Feed;
  /** The noise level; the network's timestep is 1000 times that. */
  sigma: number;
  /**
   * What else the network is given: for what is asked, then for what is not wanted. The second one is not
   * looked at without guidance.
   */
  conditions: readonly NetworkRow[];
  guidanceScale: number;
  /** Of the velocity. */
  shape: LatentShape;
}

/**
 * Whether there is a second row. Guidance of 1 is the conditional prediction itself, so the second pass would
 * be thrown away.
 */
export const isGuided = (guidanceScale: number): boolean => guidanceScale > 1;

/** The guided velocity of each item, in order: the same, bit for bit, whatever other items share the pass. */
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
