/** A pass of a transformer with classifier-free guidance, for several pictures at once: each is one row of the network, or two when it is guided. */
import type { GuidanceRescale, LatentShape } from "./guidance.ts";
import { guide } from "./guidance.ts";
import type { OnnxSession } from "./onnx-session.ts";
import type { StepItem } from "./step-batcher.ts";

/** What a picture is to show. With a guidance of 1 or less the negative prompt has no say, and there is no row for it. */
export interface GuidedCondition {
  shape: LatentShape;
  /** [rows, tokens, width] of the text encoder: the prompt's row, then the negative prompt's when it is guided. */
  states: Float32Array;
  /** [rows, tokens] */
  mask: BigInt64Array;
  guidanceScale: number;
}

/** Whether there is a second row. Guidance of 1 is the conditional prediction itself, so the second pass would be thrown away. */
export const isGuided = (guidanceScale: number): boolean => guidanceScale > 1;

/**
 * The guided velocities of pictures of one shape. Each is the same, bit for bit, whatever other pictures share the pass: with
 * fewer rows than threads, and with one row, onnxruntime multiplies matrices in another order (seen with 1.30, rows 1 to 32,
 * threads 1 to 8), so such a pass is filled up with copies.
 *
 * @param tokens of a prompt, padding included
 * @param threads of the network
 */
export function createGuidedTransformer(
  transformer: OnnxSession,
  { tokens, threads, rescale }: { tokens: number; threads: number; rescale: GuidanceRescale },
) {
  /** What the network is given: most passes are of as many rows as the one before. */
  let feeds: ReturnType<typeof newFeeds> | undefined;
  return async (items: readonly StepItem<GuidedCondition>[]): Promise<Float32Array[]> => {
    const [first] = items;
    if (!first) return [];
    const { channels, height, width } = first.condition.shape;
    const count = channels * height * width;
    const parts = items.map((item) => ({ ...item, rows: isGuided(item.condition.guidanceScale) ? 2 : 1 }));
    const used = parts.reduce((sum, part) => sum + part.rows, 0);
    const rows = Math.max(used, threads, 2);
    const textCount = first.condition.states.length / (parts[0]?.rows ?? 1);
    if (feeds?.timestep.length !== rows || feeds.latents.length !== rows * count || feeds.states.length !== rows * textCount) {
      feeds = newFeeds(rows, count, textCount, tokens);
    }
    const { latents, timestep, states, mask } = feeds;
    let row = 0;
    for (const part of parts) {
      states.set(part.condition.states, row * textCount);
      mask.set(part.condition.mask, row * tokens);
      timestep.fill(part.sigma * 1000, row, row + part.rows);
      for (let i = 0; i < part.rows; i++) latents.set(part.latents, row++ * count);
    }
    for (; row < rows; row++) {
      for (const [whole, length] of [
        [latents, count],
        [timestep, 1],
        [states, textCount],
        [mask, tokens],
      ] as const)
        whole.copyWithin(row * length, 0, length);
    }
    const { data } = await transformer.run({
      latents: { data: latents, shape: [rows, channels, height, width] },
      timestep: { data: timestep, shape: [rows] },
      encoder_hidden_states: { data: states, shape: [rows, tokens, textCount / tokens] },
      encoder_attention_mask: { data: mask, shape: [rows, tokens] },
    });
    if (data.length !== rows * count) {
      throw new Error(
        `The transformer gave ${data.length} numbers for ${rows} × ${count} latents: it does not fit this model's parameters.`,
      );
    }
    row = 0;
    return parts.map(({ rows: own, condition: { guidanceScale, shape } }) => {
      const conditional = data.subarray(row * count, (row + 1) * count);
      row += own;
      return own === 1 ? conditional : guide(conditional, data.subarray((row - 1) * count, row * count), guidanceScale, rescale, shape);
    });
  };
}

const newFeeds = (rows: number, count: number, textCount: number, tokens: number) => ({
  latents: new Float32Array(rows * count),
  timestep: new Float32Array(rows),
  states: new Float32Array(rows * textCount),
  mask: new BigInt64Array(rows * tokens),
});
