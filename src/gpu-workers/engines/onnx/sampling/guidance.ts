/**
 * True classifier-free guidance, as QwenImagePipeline does it: u + w·(c − u). Where the model's manifest asks
 * for it, each token is then rescaled to the length it has in the conditional prediction, which keeps strong
 * guidance from oversaturating the colours.
 */
export type GuidanceRescale = "none" | "token";

export interface LatentShape {
  channels: number;
  /** Latent rows and columns, multiples of `patch`. */
  height: number;
  width: number;
  /** Latents per token, each way. */
  patch: number;
}

/**
 * Gives the guided velocity of one item.
 *
 * @param conditional   float32 [channels, height, width], with the prompt
 * @param unconditional same shape, with the negative prompt
 * @param scale         w
 */
export function guide(
  conditional: Float32Array,
  unconditional: Float32Array,
  scale: number,
  rescale: GuidanceRescale,
  shape: LatentShape,
): Float32Array {
  const guided = new Float32Array(conditional.length);
  for (let i = 0; i < guided.length; i++) {
    const u = unconditional[i] ?? 0;
    guided[i] = u + scale * ((conditional[i] ?? 0) - u);
  }
  if (rescale === "token") rescaleTokens(guided, conditional, shape);
  return guided;
}

/** Gives every token of `guided`, in place, the Euclidean length that the same token has in `reference`. */
function rescaleTokens(
  guided: Float32Array,
  reference: Float32Array,
  { channels, height, width, patch }: LatentShape,
): void {
  const indices = new Int32Array(channels * patch * patch);
  for (let top = 0; top < height; top += patch) {
    for (let left = 0; left < width; left += patch) {
      let n = 0;
      let [own, wanted] = [0, 0];
      for (let c = 0; c < channels; c++) {
        for (let y = top; y < top + patch; y++) {
          for (let x = left; x < left + patch; x++) {
            const i = (c * height + y) * width + x;
            indices[n++] = i;
            own += (guided[i] ?? 0) ** 2;
            wanted += (reference[i] ?? 0) ** 2;
          }
        }
      }
      const factor = own === 0 ? 1 : Math.sqrt(wanted / own);
      for (const i of indices) guided[i] = (guided[i] ?? 0) * factor;
    }
  }
}
