/**
 * Checks images with a network that scores how unsafe for work they are.
 *
 * The network is an ONNX file such as Yahoo's open_nsfw: it takes float32 [n, 224, 224, 3] and gives [n, 2],
 * the probabilities of safe and unsafe. An image is scaled to 256 × 256, its middle 224 × 224 are taken, and
 * a mean is subtracted from its channels in the order blue, green, red. The diffusers engine scores in the
 * same way (engines/python/tempera_diffusers/safety_check.py), so the scaling is Pillow's bilinear filter.
 */
import { type OnnxSession, openOnnxSession } from "../runtime/onnx-session.ts";
import type { ImageSize } from "./image-size.ts";

/** The environment variable with the path of the network; `off` or nothing for no checks. */
const VARIABLE = "TEMPERA_SAFETY_CHECKER";

/** fal's sentence for `content_policy_violation`. */
export const FLAGGED =
  "The content could not be processed because it contained material flagged by a content checker.";

const [SCALED, CROPPED] = [256, 224];
const MEAN_BGR = [104, 117, 123];

/** Bits after the point of the scaling's weights, as in Pillow. */
const WEIGHT_BITS = 22;

export interface SafetyCheck {
  /**
   * Scores an image from 0, safe, to 1, unsafe.
   *
   * @param rgb 8 bits each, row by row
   */
  score(rgb: Uint8Array, size: ImageSize): Promise<number>;
  /** Tells whether the score is above the threshold. */
  isUnsafe(rgb: Uint8Array, size: ImageSize): Promise<boolean>;
}

/**
 * Opens the network that the operator chose; undefined where there is none. Rejects when it cannot be used:
 * nothing then passes unchecked.
 */
export async function openSafetyCheck({
  threads,
  safetyThreshold,
}: {
  threads: number;
  safetyThreshold: number;
}): Promise<SafetyCheck | undefined> {
  const path = process.env[VARIABLE];
  if (!path || path === "off") return undefined;
  const network = await openOnnxSession(path, threads).catch((error: Error) => {
    throw new Error(`${VARIABLE}: ${error.message}`, { cause: error });
  });
  const score = async (input: Float32Array) => {
    const { data, shape } = await network.run(feedOf(network, input));
    return shape.join() === "1,2" ? data[1] : undefined;
  };
  if ((await score(new Float32Array(CROPPED * CROPPED * 3)).catch(() => undefined)) === undefined) {
    const form = `[n, ${CROPPED}, ${CROPPED}, 3] and give [n, 2]`;
    throw new Error(
      `${VARIABLE}: ${path} is another kind of network; it should take ${form}, as open_nsfw does.`,
    );
  }
  const scoreOf = async (rgb: Uint8Array, size: ImageSize) => (await score(prepare(rgb, size))) ?? 1;
  // A score that is no number must not pass either.
  const isUnsafe = async (rgb: Uint8Array, size: ImageSize) =>
    !((await scoreOf(rgb, size)) <= safetyThreshold);
  return { score: scoreOf, isUnsafe };
}

function feedOf({ inputNames: [name = ""] }: OnnxSession, data: Float32Array) {
  return { [name]: { data, shape: [1, CROPPED, CROPPED, 3] } };
}

/** Makes the network's input of an image: float32 [224, 224, 3], blue, green, red. */
function prepare(rgb: Uint8Array, { width, height }: ImageSize): Float32Array {
  const scaled = scaleLines(scaleLines(rgb, width, height), height, SCALED);
  const input = new Float32Array(CROPPED * CROPPED * 3);
  const margin = (SCALED - CROPPED) / 2;
  let at = 0;
  for (let y = margin; y < margin + CROPPED; y++)
    for (let x = margin; x < margin + CROPPED; x++)
      for (let c = 0; c < 3; c++)
        input[at++] = (scaled[(y * SCALED + x) * 3 + 2 - c] ?? 0) - (MEAN_BGR[c] ?? 0);
  return input;
}

/**
 * Scales each line to 256 pixels, and makes columns of the lines.
 *
 * @param source RGB, `lines` lines of `length` pixels
 * @returns RGB, 256 lines of `lines` pixels
 */
function scaleLines(source: Uint8Array, length: number, lines: number): Uint8Array {
  const scaled = new Uint8Array(SCALED * lines * 3);
  let to = 0;
  for (let i = 0; i < SCALED; i++) {
    const { first, weights } = bilinear(i, length);
    for (let line = 0; line < lines; line++) {
      for (let c = 0; c < 3; c++) {
        let sum = 1 << (WEIGHT_BITS - 1);
        let from = (line * length + first) * 3 + c;
        for (const weight of weights) {
          sum += (source[from] ?? 0) * weight;
          from += 3;
        }
        scaled[to++] = Math.min(sum >> WEIGHT_BITS, 255);
      }
    }
  }
  return scaled;
}

/** Gives the first pixel and the weights of all pixels that make up pixel `i` of 256, in fixed point. */
function bilinear(i: number, length: number): { first: number; weights: number[] } {
  const scale = length / SCALED;
  const support = Math.max(scale, 1);
  const center = (i + 0.5) * scale;
  const first = Math.max(Math.trunc(center - support + 0.5), 0);
  const end = Math.min(Math.trunc(center + support + 0.5), length);
  const shares = Array.from({ length: end - first }, (_, k) =>
    Math.max(1 - Math.abs((k + first - center + 0.5) / support), 0),
  );
  const sum = shares.reduce((total, share) => total + share, 0);
  return { first, weights: shares.map((share) => Math.trunc(0.5 + (share / sum) * 2 ** WEIGHT_BITS)) };
}
